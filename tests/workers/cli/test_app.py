"""`wpp` does what its help says, and reports a mistake in a sentence."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import redis
from typer.testing import CliRunner, Result

from sandbox.redis import RedisServer
from shared import routing
from shared.events import Message
from shared.lanes.client import Lanes
from shared.lanes.records import find_record
from shared.lanes.types import ClaimSequence, Settled
from shared.producer import Producer
from shared.redis import keys
from shared.settings import EngineSettings
from tests.fixtures.background import in_background
from tests.fixtures.provision_env import ProvisionEnv, handle_next
from tests.fixtures.waiting import wait_until
from workers.cli.app import app
from workers.cli.reconnect import enqueue_reconnects
from workers.ingress.metrics import PipelineCollector

ROOT = Path(__file__).parents[3]
SECRET = "s" * 32
ORGANIZATION = uuid4()


@pytest.fixture
def wpp(
    redis_server: RedisServer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> CliRunner:
    """Return a runner of commands, with an empty Redis in its settings."""
    assert redis_client.dbsize() == 0
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("WPP_KEY_SECRETS", SECRET)
    monkeypatch.setenv("WPP_PUBLIC_URL", "http://127.0.0.1:8000")
    return CliRunner()


@pytest.fixture
def lanes(redis_client: redis.Redis) -> Lanes:
    return Lanes(redis_client, EngineSettings())


def output(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


def unknown_message(lanes: Lanes) -> UUID:
    accepted = lanes.append(
        routing.route_send(ORGANIZATION, uuid4(), Message(to="+79990001122", text="Hello"))
    )
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    lanes.conclude(claim, Settled("unknown"))
    return accepted.id


def test_send_enqueues_and_show_prints_the_record(wpp: CliRunner) -> None:
    """Two sends with the same idempotency key are a single message."""
    options = ["--integration-id", str(uuid4()), "--idempotency-key", "once"]
    event_id = output(
        wpp.invoke(app, ["send", str(ORGANIZATION), "+79990001122", "Hello", *options])
    ).strip()
    assert (
        output(
            wpp.invoke(app, ["send", str(ORGANIZATION), "+79990001122", "Hello", *options])
        ).strip()
        == event_id
    )
    assert '"state": "queued"' in output(wpp.invoke(app, ["show", event_id]))
    assert "send" in output(wpp.invoke(app, ["lanes"]))


def test_lanes_and_status_tell_what_waits_for_newer_processes(wpp: CliRunner, lanes: Lanes) -> None:
    """An upgrade that stopped half-way is seen."""
    item = routing.route_send(ORGANIZATION, uuid4(), Message(to="+79990001122", text="Hello"))
    lanes.append(replace(item, version=2))
    assert lanes.claim("send", ClaimSequence()) is None
    assert "1  lanes wait for send workers of a newer version" in output(wpp.invoke(app, ["lanes"]))
    listed = json.loads(output(wpp.invoke(app, ["lanes", "--json"])))
    assert listed["awaiting_newer"] == {"send": 1}
    assert "newer         1 lanes wait" in wpp.invoke(app, ["status"]).stdout


@pytest.mark.parametrize(
    ("outcome", "state"), [("sent", "sent"), ("failed", "failed"), ("again", "queued")]
)
def test_settle_ends_an_unknown_message(
    wpp: CliRunner, lanes: Lanes, redis_client: redis.Redis, outcome: str, state: str
) -> None:
    """A message can be settled once."""
    event_id = unknown_message(lanes)
    output(wpp.invoke(app, ["settle", str(event_id), outcome]))
    record = find_record(redis_client, event_id)
    assert record
    assert record.state == state
    again = wpp.invoke(app, ["settle", str(event_id), outcome])
    assert again.exit_code == 2
    assert "no message with an unknown delivery" in again.output


def test_operators_ask_indexes_and_never_every_key(
    wpp: CliRunner, lanes: Lanes, redis_client: redis.Redis
) -> None:
    """A million finished events make these commands no slower."""
    event_id = unknown_message(lanes)
    for number in range(200):
        redis_client.hset(keys.event(str(number)), "state", "done")
    lanes.close_gate("open again", 60, "for a while")
    lanes.open_gate("open again")
    lanes.close_gate("integration:7", 60, "the phone is not linked")
    redis_client.config_resetstat()
    shown = output(wpp.invoke(app, ["lanes"]))
    assert "held by integration:7" in shown
    assert "open again" not in shown
    for arguments, listed in (
        ([], True),
        (["--organization", str(ORGANIZATION)], True),
        (["--organization", str(uuid4())], False),
    ):
        assert (str(event_id) in output(wpp.invoke(app, ["unknown", *arguments]))) == listed
    list(PipelineCollector(redis_client).collect())
    stats: Any = redis_client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}
    assert not {"scan", "keys"} & set(calls)
    assert sum(calls.values()) < 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", str(uuid4())], "no event"),
        (["send", str(ORGANIZATION), "nobody", "Hello"], "not a phone number"),
        (["send", str(ORGANIZATION), "+79990001122", "Hello"], "name one with integration_id"),
    ],
)
def test_a_mistake_is_reported_in_one_sentence(
    wpp: CliRunner, arguments: list[str], message: str
) -> None:
    """The sentence says what is wrong; there is no traceback."""
    result = wpp.invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_redis_that_is_down_is_reported_in_one_sentence(
    wpp: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names the setting to check."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    result = wpp.invoke(app, ["lanes"])
    assert result.exit_code == 1
    assert "Is REDIS_URL right" in result.output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.usefixtures("wpp")
def test_a_command_in_the_background_of_a_script_ends_on_a_stop_signal(
    redis_client: redis.Redis, number: signal.Signals, code: int
) -> None:
    """The shell of a script ignores SIGINT for it; it ends without a word."""
    program = subprocess.Popen(
        in_background([sys.executable, "-m", "workers.cli.app", "tail"]),
        env=os.environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_until(lambda: redis_client.pubsub_numsub(keys.TAIL)[0][1], "the watcher")
    program.send_signal(number)
    output, _ = program.communicate(timeout=20)
    assert (program.returncode, output) == (code, b"")


def test_reconnect_needs_either_ids_or_all(wpp: CliRunner) -> None:
    """Without ids and with both, it starts nothing."""
    for arguments in (["reconnect"], ["reconnect", "--all", str(uuid4())]):
        refused = wpp.invoke(app, arguments)
        assert refused.exit_code == 2
        assert "give the ids of integrations, or --all" in refused.output


def count_registrations(env: ProvisionEnv) -> int:
    """Return how many webhook registrations the platform has counted."""
    requests: dict[str, dict[str, int]] = httpx.get(f"{env.platform.url}/admin/ledger").json()[
        "requests"
    ]
    return sum(sum(results.values()) for name, results in requests.items() if "webhook" in name)


def test_reconnect_registers_the_webhook_of_each_enabled_integration(env: ProvisionEnv) -> None:
    """A connected integration stays connected; a disabled integration is skipped."""
    on = env.create_organization()
    off = env.create_organization()
    pauses: list[float] = []
    with env.worker() as ctx, Producer(env.client) as producer:
        for organization_id in (on, off):
            env.enqueue(organization_id)
            assert handle_next(ctx)
        (connected,) = env.find_integrations(on)
        (disabled,) = env.find_integrations(off)
        env.scan_qr(connected["account"])
        env.sql(
            "update messenger_integrations set is_enabled = false where id = %s", disabled["id"]
        )
        before = count_registrations(env)

        integrations = list(ctx.database.integrations.iterate())

        def find_producer(_organization_id: UUID) -> Producer:
            return producer

        count = enqueue_reconnects(integrations, find_producer, per_second=4, sleep=pauses.append)
        assert count == 1
        while handle_next(ctx):
            pass
        env.record_outcomes()
        assert count_registrations(env) == before + 1
        assert [each["status"] for each in env.find_accounts(on)] == ["connected"]
        assert ctx.database.integrations.list_for(on)[0].status == "connected"
    assert pauses == [0.25]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the built and unpacked wheel."""
    dist = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(dist)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(dist / "unpacked")
    return dist / "unpacked"


def run_installed(wheel: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `wpp` from the wheel. `-S` and `-P` keep this checkout off the module path."""
    code = "from workers.cli.app import app; app(prog_name='wpp')"
    return subprocess.run(
        [sys.executable, "-S", "-P", "-c", code, *arguments],
        env={"PYTHONPATH": f"{wheel}:{sysconfig.get_path('purelib')}", "NO_COLOR": "1"},
        cwd=wheel,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_installed_wpp_has_no_command_for_the_local_world(wheel: Path) -> None:
    """The wheel holds no sandbox, so `wpp up` is an unknown command."""
    assert not (wheel / "sandbox").exists()
    help_text = run_installed(wheel, "--help")
    assert help_text.returncode == 0, help_text.stderr
    assert "lanes" in help_text.stdout
    assert "local" not in help_text.stdout
    up = run_installed(wheel, "up")
    assert up.returncode == 2
    assert "No such command 'up'" in up.stderr
    assert "Traceback" not in up.stderr


def test_a_checkout_has_the_command_for_the_local_world(wpp: CliRunner) -> None:
    assert "--directory" in output(wpp.invoke(app, ["up", "--help"]))

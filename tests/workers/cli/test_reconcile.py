"""`wpp reconcile` says what it would do, and does it with --apply."""

import json
from uuid import uuid4

import pytest
import redis
from typer.testing import CliRunner

from sandbox.redis import RedisServer
from shared import routing
from shared.events import Message
from shared.lanes.client import Lanes
from shared.lanes.records import find_record
from shared.processes import RunningProcess, now_ms, report
from shared.settings import EngineSettings
from tests.fixtures.provision_env import ProvisionEnv, supabase_settings
from workers.cli.app import app


@pytest.fixture
def wpp(env: ProvisionEnv, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Return a runner with the settings of `env`."""
    settings = supabase_settings(env.supabase)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("SUPABASE_URL", str(settings.supabase_url))
    for name in ("supabase_anon_key", "supabase_service_role_key"):
        monkeypatch.setenv(name.upper(), getattr(settings, name).get_secret_value())
    return CliRunner()


def test_a_restored_redis_is_looked_at_and_then_changed(
    wpp: CliRunner, redis_client: redis.Redis
) -> None:
    """What waits becomes unknown; under a worker that runs nothing is touched."""
    item = routing.route_send(uuid4(), uuid4(), Message(to="+79990001122", text="Hello"))
    Lanes(redis_client, EngineSettings()).append(item)
    shown = wpp.invoke(app, ["reconcile", "redis"])
    assert shown.exit_code == 0, shown.output
    assert "1  messages may have gone out: unknown" in shown.stdout
    assert "nothing was changed" in shown.stdout
    running = RunningProcess.of_this_process(["send"], 1, now_ms(redis_client))
    report(redis_client, running)
    refused = wpp.invoke(app, ["reconcile", "redis", "--apply"])
    assert refused.exit_code == 1
    assert f"stop the processes that send, and the clock, first: {running.name}" in refused.stderr
    redis_client.delete("wpp:processes")
    waiting = wpp.invoke(app, ["reconcile", "redis", "--send-waiting", "--json"])
    assert json.loads(waiting.stdout) == {"waiting": 1, "applied": False}
    done = wpp.invoke(app, ["reconcile", "redis", "--apply", "--json"])
    assert json.loads(done.stdout) == {"unknown": 1, "applied": True}
    record = find_record(redis_client, item.id)
    assert record
    assert record.state == "unknown"


def test_a_restored_supabase_gets_its_rows_back(wpp: CliRunner, redis_client: redis.Redis) -> None:
    item = routing.route_send(uuid4(), uuid4(), Message(to="+79990001122", text="Hello"))
    Lanes(redis_client, EngineSettings()).append(item)
    before = redis_client.xlen("wpp:outbox")
    done = wpp.invoke(app, ["reconcile", "supabase", "--apply"])
    assert done.exit_code == 0, done.output
    assert "1  messages get their row back" in done.stdout
    assert redis_client.xlen("wpp:outbox") == before + 1

"""`wpp`: what an operator types and reads."""

from uuid import UUID, uuid4

import pytest
import redis
from typer.testing import CliRunner, Result

from sandbox.redis import RedisServer
from shared import routing, signed_keys
from shared.events import Message
from shared.lanes.client import Lanes, Settled, Slot
from shared.lanes.records import find_record
from shared.settings import EngineSettings
from workers.cli.app import app

SECRET = "s" * 32
ORGANIZATION = uuid4()


@pytest.fixture
def wpp(
    redis_server: RedisServer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> CliRunner:
    """Return a terminal with the settings of this Redis, which is empty."""
    assert redis_client.dbsize() == 0
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("WPP_KEY_SECRETS", SECRET)
    monkeypatch.setenv("WPP_PUBLIC_URL", "http://127.0.0.1:8000")
    return CliRunner()


@pytest.fixture
def lanes(redis_client: redis.Redis) -> Lanes:
    return Lanes(redis_client, EngineSettings())


def said(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


def unknown_message(lanes: Lanes) -> UUID:
    accepted = lanes.append(
        routing.route_send(ORGANIZATION, uuid4(), Message(to="+79990001122", text="Hello"))
    )
    claim = lanes.claim("send", Slot())
    assert claim
    lanes.conclude(claim, Settled("unknown"))
    return accepted.id


def test_key_prints_the_key_that_opens_the_organizations_doors(wpp: CliRunner) -> None:
    """The printed key is one that the ingress takes, for this organization."""
    key = said(wpp.invoke(app, ["key", str(ORGANIZATION)])).strip()
    assert signed_keys.read_service_key(key, [SECRET.encode()]) == ORGANIZATION


def test_send_queues_and_show_tells(wpp: CliRunner) -> None:
    """A message that was queued by hand is shown as queued; the same key is the same message."""
    number = ["--integration-id", str(uuid4()), "--idempotency-key", "once"]
    event_id = said(
        wpp.invoke(app, ["send", str(ORGANIZATION), "+79990001122", "Hello", *number])
    ).strip()
    assert (
        said(wpp.invoke(app, ["send", str(ORGANIZATION), "+79990001122", "Hello", *number])).strip()
        == event_id
    )
    assert '"state": "queued"' in said(wpp.invoke(app, ["show", event_id]))
    assert "send" in said(wpp.invoke(app, ["lanes"]))


@pytest.mark.parametrize(
    ("outcome", "state"), [("sent", "sent"), ("failed", "failed"), ("again", "queued")]
)
def test_settle_says_what_became_of_an_unknown_message(
    wpp: CliRunner, lanes: Lanes, redis_client: redis.Redis, outcome: str, state: str
) -> None:
    """An operator who has looked at the phone settles it, once."""
    event_id = unknown_message(lanes)
    said(wpp.invoke(app, ["settle", str(event_id), outcome]))
    record = find_record(redis_client, event_id)
    assert record
    assert record.state == state
    again = wpp.invoke(app, ["settle", str(event_id), outcome])
    assert again.exit_code == 1
    assert "no message whose effect is unknown" in again.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", str(uuid4())], "no event"),
        (["send", str(ORGANIZATION), "nobody", "Hello"], "not a phone number"),
        (["send", str(ORGANIZATION), "+79990001122", "Hello"], "name one with integration_id"),
    ],
)
def test_a_mistake_is_one_sentence(wpp: CliRunner, arguments: list[str], message: str) -> None:
    """What was wrong and what to do, without a traceback."""
    result = wpp.invoke(app, arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_redis_that_is_away_is_one_sentence(
    wpp: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tired operator learns which variable to look at."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    result = wpp.invoke(app, ["lanes"])
    assert result.exit_code == 1
    assert "Is REDIS_URL right" in result.output


def test_reconnect_wants_to_know_which(wpp: CliRunner) -> None:
    """Nothing is started by a command that was not finished, or says two things."""
    for arguments in (["reconnect"], ["reconnect", "--all", str(uuid4())]):
        refused = wpp.invoke(app, arguments)
        assert refused.exit_code == 1
        assert "name the numbers, or say --all" in refused.output

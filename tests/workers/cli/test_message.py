"""`wpp cancel` takes back a message that waits."""

from uuid import UUID, uuid4

import pytest
import redis
from typer.testing import CliRunner

from sandbox.redis import RedisServer
from shared import routing
from shared.events import Message
from shared.lanes.client import Lanes
from shared.lanes.records import find_record
from shared.lanes.types import ClaimSequence
from shared.outbox import Outbox
from shared.settings import EngineSettings
from workers.cli.app import app

ORGANIZATION = UUID(int=1)
NUMBER = UUID(int=2)


@pytest.fixture
def lanes(
    redis_server: RedisServer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> Lanes:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    return Lanes(redis_client, EngineSettings())


def accept(lanes: Lanes) -> UUID:
    message = Message(to="79990001122", text="Hello")
    return lanes.append(routing.route_send(ORGANIZATION, NUMBER, message)).id


def cancel(message_id: UUID) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["cancel", str(message_id)])
    return result.exit_code, result.output.strip()


def test_a_message_that_waits_is_cancelled_once(lanes: Lanes) -> None:
    message_id = accept(lanes)
    for _ in range(2):
        assert cancel(message_id) == (0, "cancelled")
    record = find_record(lanes.client, message_id)
    assert record
    assert (record.state, record.reason) == ("cancelled", "cancelled before it was sent")
    *_, entry = Outbox(lanes.client).read(gather_s=0)
    assert (entry.row["id"], entry.row["status"]) == (str(message_id), "failed")
    assert lanes.claim("send", ClaimSequence()) is None


def test_a_message_that_is_being_sent_is_left_as_it_is(lanes: Lanes) -> None:
    message_id = accept(lanes)
    assert lanes.claim("send", ClaimSequence())
    code, output = cancel(message_id)
    assert (code, output) == (
        1,
        f"cannot cancel message {message_id}: it is being sent at this moment",
    )


def test_an_unknown_message_is_a_mistake(lanes: Lanes) -> None:
    del lanes
    missing = uuid4()
    assert cancel(missing) == (2, f"no message {missing}")

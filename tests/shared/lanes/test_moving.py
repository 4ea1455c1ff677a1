"""A tenant that moves to another Redis: paused, then closed, while the rest goes on."""

from uuid import uuid4

import pytest
import redis

from shared.errors import MovedError
from shared.events import SendEvent
from shared.lanes.client import Lanes
from shared.lanes.types import Append, Claim, ClaimSequence, Settled
from shared.redis import keys
from shared.routing import route_event
from shared.settings import EngineSettings

TENANT, STAYS = uuid4(), uuid4()
CANCELLED = Settled("cancelled", [], {})


@pytest.fixture
def lanes(redis_client: redis.Redis) -> Lanes:
    return Lanes(redis_client, EngineSettings())


def make_item(tenant: object = TENANT, version: int = 1) -> Append:
    event = SendEvent(
        id=uuid4(), organization_id=tenant, integration_id=uuid4(), to="79990001122", text="a"
    )
    item = route_event(event)
    return Append(**{**vars(item), "version": version})


def mark(lanes: Lanes, how: str) -> None:
    lanes.client.hset(keys.MOVING, str(TENANT), how)


def claim(lanes: Lanes) -> Claim | None:
    lanes.sweep("send")
    return lanes.claim("send", ClaimSequence())


@pytest.mark.parametrize("version", [1, 2])
def test_a_paused_tenant_accepts_and_nothing_of_it_is_claimed(lanes: Lanes, version: int) -> None:
    """Workers of each version leave its lanes; those of a different tenant are claimed."""
    waiting, staying = make_item(version=version), make_item(STAYS)
    lanes.append(waiting)
    if version == 2:
        old = Lanes(lanes.client, lanes.settings, knows=1)
        assert claim(old) is None
        lanes = Lanes(lanes.client, lanes.settings, knows=2)
    mark(lanes, "paused")
    lanes.append(make_item())
    lanes.append(staying)
    found = claim(lanes)
    assert found
    assert found.id == staying.id
    assert claim(lanes) is None
    lanes.client.hdel(keys.MOVING, str(TENANT))
    found = claim(lanes)
    assert found


def test_a_closed_tenant_is_told_to_look_again(lanes: Lanes) -> None:
    """Also where the event is known: its record may be gone a moment later."""
    item, staying = make_item(), make_item(STAYS)
    lanes.append(item)
    mark(lanes, "closed")
    with pytest.raises(MovedError):
        lanes.append(item)
    replies = lanes.append_all([make_item(), staying])
    assert [reply[0] for reply in replies] == [b"moved", b"new"]
    with pytest.raises(MovedError):
        lanes.replay(make_item())
    assert lanes.cancel(item.id, "send", str(TENANT), CANCELLED) == "claimed"


def test_what_runs_when_it_is_closed_ends(lanes: Lanes) -> None:
    """Its outcomes count, and its unknown messages are resolved on the shard that they go to."""
    item = make_item()
    lanes.append(item)
    found = claim(lanes)
    assert found
    mark(lanes, "closed")
    assert lanes.conclude(found, Settled("unknown", [], {}))[0]
    assert not lanes.resolve(item.id, Settled("sent", [], {}))
    lanes.client.hdel(keys.MOVING, str(TENANT))
    assert lanes.resolve(item.id, Settled("sent", [], {}))

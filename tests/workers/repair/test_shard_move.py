"""An organization moves to another Redis with all that waits, also when the mover is killed."""

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from shared.errors import MovedError
from shared.events import SendEvent, utc_now
from shared.lanes.client import Lanes
from shared.lanes.records import find_record
from shared.lanes.types import Append, ClaimSequence, Postponed, Settled
from shared.redis import keys
from shared.routing import route_event, route_webhook
from shared.settings import EngineSettings
from tests.fixtures.two_redis import TwoRedis
from workers.repair import shard_move
from workers.repair.shard_clients import ShardClients
from workers.repair.shard_move import MoveError, Mover

ORGANIZATION, OTHER, NUMBER = uuid4(), uuid4(), uuid4()
ACCOUNT = "79990000001"
PEERS = 3
EACH = 4
SETTINGS = EngineSettings()


class KilledError(BaseException):
    """The end of the process."""


class World:
    """Both shards, and an organization on `a` with something of each kind that waits."""

    def __init__(self, shards: TwoRedis) -> None:
        self.shards = shards
        self.old = Lanes(shards.home, SETTINGS)
        self.new = Lanes(shards.other, SETTINGS)
        for each in (ORGANIZATION, OTHER):
            shards.home.hset(keys.SHARD_OF, str(each), "a")
        self.sent = self._send("0", 0)
        claim = self.claim(self.old)
        assert claim
        self.old.conclude(claim, Settled("sent", [], {}))
        self.unknown = self._send("1", 0)
        claim = self.claim(self.old)
        assert claim
        self.old.conclude(claim, Settled("unknown", [], {}))
        self.postponed = self._send("2", 0)
        claim = self.claim(self.old)
        assert claim
        self.old.conclude(claim, Postponed(60, "later"))
        self.waiting = [
            (peer, seq, self._send(f"7{peer}", seq)) for seq in range(EACH) for peer in range(PEERS)
        ]
        self.later = self._send("3", 0, send_at=utc_now() + timedelta(hours=1))
        self.webhook = route_webhook(ACCOUNT, {"event": "ready"}, "one", "7")
        self.old.append(self.webhook)
        self.foreign = make_send(OTHER, "9", 0)
        self.old.append(self.foreign)
        shards.home.set(keys.idempotency_key(ORGANIZATION, "digest"), "answer", ex=1000)
        self.append_of_a_late_request = make_send(ORGANIZATION, "88", 0)

    def _send(self, to: str, seq: int, **fields: Any) -> UUID:
        item = make_send(ORGANIZATION, to, seq, **fields)
        self.old.append(item)
        return item.id

    @staticmethod
    def claim(lanes: Lanes, queue: str = "send") -> Any:
        lanes.sweep(queue)
        return lanes.claim(queue, ClaimSequence())

    def mover(self) -> Mover:
        clients = ShardClients(self.shards.by_name, self.shards.table)
        return Mover(clients, make_database(), SETTINGS, ORGANIZATION)

    def place(self) -> str:
        found: Any = self.shards.home.hget(keys.SHARD_OF, str(ORGANIZATION))
        return str(found.decode())

    def drain(self, lanes: Lanes) -> list[UUID]:
        """Send what can be sent on a shard, as one worker does."""
        found = []
        while claim := self.claim(lanes):
            lanes.conclude(claim, Settled("sent", [], {}))
            found.append(claim.id)
        return found


def make_send(organization_id: UUID, to: str, seq: int, **fields: Any) -> Append:
    event = SendEvent(
        id=uuid4(),
        organization_id=organization_id,
        integration_id=NUMBER if organization_id == ORGANIZATION else uuid4(),
        to=f"7999000{to}",
        text=str(seq),
        **fields,
    )
    return route_event(event)


def make_database() -> Any:
    number = SimpleNamespace(
        id=NUMBER,
        organization_id=ORGANIZATION,
        name="One",
        account=ACCOUNT,
        is_primary=True,
        is_enabled=True,
        region="RU",
    )
    integrations = SimpleNamespace(
        list_accounts=lambda _id: [ACCOUNT], list_for=lambda _id: [number]
    )
    policies = SimpleNamespace(resends_unknown=lambda _id: False)
    pacing = SimpleNamespace(of_numbers=lambda *_: {})
    return SimpleNamespace(integrations=integrations, policies=policies, pacing=pacing)


@pytest.fixture
def world(two_redis: TwoRedis, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(shard_move, "NOTICE_S", 0.0)
    world = World(two_redis)
    two_redis.home.delete(keys.OUTBOX)
    return world


def assert_moved(world: World) -> None:
    """Everything is on the other shard, once and in order; nothing is left, of others all is."""
    old, new = world.shards.home, world.shards.other
    assert world.place() == "b"
    assert not new.hexists(keys.MOVING, str(ORGANIZATION))
    known = [find_record(new, each) for each in (world.sent, world.unknown, world.later)]
    assert [each and each.state for each in known] == ["sent", "unknown", "scheduled"]
    assert new.get(keys.idempotency_key(ORGANIZATION, "digest")) == b"answer"
    assert new.zcard(keys.scheduled("send")) == 1
    assert new.smembers(keys.UNKNOWN_TENANTS) == {str(ORGANIZATION).encode()}
    waiting = len(world.waiting) + 2
    assert new.hget(keys.waiting("send"), str(ORGANIZATION)) == str(waiting).encode()

    took = world.drain(world.new)
    assert Counter(took) == Counter(each for *_, each in world.waiting), "each once"
    for peer in range(PEERS):
        lane = [each for of, _, each in world.waiting if of == peer]
        assert [each for each in took if each in lane] == lane
    assert find_record(new, world.postponed).state == "queued"  # type: ignore[union-attr]
    claim = world.claim(world.new, "webhook")
    assert claim
    assert claim.id == world.webhook.id
    assert world.new.resolve(world.unknown, Settled("sent", [], {}))

    assert world.drain(world.old) == [world.foreign.id]
    named = {str(ORGANIZATION), str(NUMBER), ACCOUNT, str(world.sent), str(world.later)}
    left = [name for name in old.scan_iter() if any(each in name.decode() for each in named)]
    assert [name for name in left if not is_drained_or_anew(name.decode())] == []
    with pytest.raises(MovedError):
        world.old.append(world.append_of_a_late_request)
    world.new.append(world.append_of_a_late_request)


def is_drained_or_anew(name: str) -> bool:
    return name.startswith((keys.outbox_ids(""), keys.route(""), keys.organization_routes("")))


def test_all_that_waits_moves_once_and_in_order(world: World) -> None:
    assert world.mover().move("b") == len(world.waiting) + 3
    assert_moved(world)
    assert world.mover().move("b") > 0, "a move to where it is does nothing"


def test_it_moves_back(world: World) -> None:
    world.mover().move("b")
    world.mover().move("a")
    assert world.place() == "a"
    took = world.drain(world.old)
    assert Counter(took) == Counter([*(each for *_, each in world.waiting), world.foreign.id])
    world.old.append(world.append_of_a_late_request)
    with pytest.raises(MovedError):
        world.new.append(world.append_of_a_late_request)


@pytest.mark.parametrize("step", [*range(1, 30), 32, 36, 40, 50, 60])
@pytest.mark.parametrize("then", ["b", "a"])
def test_a_mover_that_is_killed_is_completed_or_undone(
    world: World, step: int, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at each of its steps; then the same move again, or the move back."""
    left = step
    tick = Mover._tick  # noqa: SLF001 - where it is killed

    def count(self: Mover) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            monkeypatch.setattr(Mover, "_undo", lambda *_: None)
            raise KilledError
        tick(self)

    monkeypatch.setattr(Mover, "_tick", count)
    with suppress(KilledError):
        world.mover().move("b")
    monkeypatch.undo()
    monkeypatch.setattr(shard_move, "NOTICE_S", 0.0)
    world.mover().move(then)
    if then == "b":
        assert_moved(world)
    else:
        assert world.place() == "a"
        took = world.drain(world.old)
        assert Counter(took) == Counter([*(each for *_, each in world.waiting), world.foreign.id])
        assert world.drain(world.new) == []


def test_a_move_that_takes_too_long_is_undone(world: World) -> None:
    """A message is being sent: its organization stays, and so do all that wait."""
    claim = world.claim(world.old)
    assert claim
    mover = world.mover()
    mover.on_step = lambda _text: None
    world.shards.home.hset(keys.SHARD_OF, str(ORGANIZATION), "a")
    shard_move_wait, shard_move.WORK_S = shard_move.WORK_S, 0.2
    try:
        with pytest.raises(MoveError, match="its work has not ended"):
            mover.move("b")
    finally:
        shard_move.WORK_S = shard_move_wait
    world.old.conclude(claim, Settled("sent", [], {}))
    took = [claim.id, *world.drain(world.old)]
    assert Counter(took) == Counter([*(each for *_, each in world.waiting), world.foreign.id])
    assert world.place() == "a"


def test_two_movers_do_not_meet(world: World) -> None:
    world.shards.home.set(keys.SHARD_MOVE, "another")
    with pytest.raises(MoveError, match="another process"):
        world.mover().move("b")
    assert world.place() == "a"


def test_an_unknown_shard_is_refused(world: World) -> None:
    with pytest.raises(MoveError, match="c is not in WPP_SHARDS"):
        world.mover().move("c")


def test_shards_whose_clocks_differ_are_refused(redis_client: redis.Redis, world: World) -> None:
    wall = int(redis_client.time()[0]) * 1000
    world.shards.other.hset(keys.LANE_CLOCK, mapping={"wall": wall, "lanes": wall + 60_000})
    with pytest.raises(MoveError, match="clocks"):
        world.mover().move("b")
    assert world.place() == "a"

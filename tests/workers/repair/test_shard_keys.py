"""Every kind of key is known to a move of an organization: a new kind cannot be forgotten."""

import inspect
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from shared.redis import keys
from tests.fixtures.two_redis import TwoRedis
from workers.repair import shard_keys
from workers.repair.shard_keys import BY_EVENT, BY_ID, ELSEWHERE, KINDS, copy_keys, find_owned

ALL = {
    name
    for name, value in vars(keys).items()
    if (inspect.isfunction(value) or (isinstance(value, str) and name.isupper()))
    and name != "PREFIX"
}
OF_NO_ORGANIZATION = {
    "WRITE_CHECK",
    "FENCE",
    "LAST_SWEEP",
    "stop_bell",
    "LANE_CLOCK",
    "fleet",
    "LOST_EVENT_COUNTS",
    "SHARD_OF",
    "SHARD_MOVE",
    "MOVING",
    "EVENT_ID_SECRET",
    "PREVIOUS_EVENT_IDS",
    "OUTBOX_BLOCKED",
    "SET_ASIDE",
    "BREAKER_CHANGES",
    "service_key",
    "operator_key",
    "ended_session",
    "UNRECOGNIZED_EVENTS",
    "request_bucket",
    "REFUSED_REQUESTS",
    "METRICS",
    "GAUGES",
    "MINUTES",
    "activity",
    "PROCESSES",
    "PROCESS_VERSIONS",
    "TAIL",
    "NO_LOCATION_ROUTE",
    "health_checks",
    "reach_check",
    "RIGHTS_CHECK",
}
"""Keys of a shard, of the home, or of all organizations together."""


def test_each_kind_of_key_is_copied_or_left_for_a_reason() -> None:
    """A new kind: say in `KINDS` what becomes of it, or that it is nobody's, here."""
    assert set(KINDS) | OF_NO_ORGANIZATION == ALL
    assert not set(KINDS) & OF_NO_ORGANIZATION
    assert ELSEWHERE not in KINDS.values()


@pytest.mark.parametrize(
    "kind", [kind for kind, what in KINDS.items() if what in {BY_ID, BY_EVENT}]
)
def test_a_key_with_an_id_of_the_organization_is_found_and_copied(
    kind: str, two_redis: TwoRedis
) -> None:
    """With the rest of its lifetime; the same kind of another organization is left."""
    ours, other, event_id = uuid4(), uuid4(), uuid4()
    two_redis.home.hset(keys.event(event_id), mapping={"tenant": str(ours), "state": "sent"})
    is_beside = KINDS[kind] == BY_EVENT
    name = make(kind, event_id if is_beside else ours)
    two_redis.home.set(name, "kept", ex=1000)
    two_redis.home.set(make(kind, uuid4() if is_beside else other), "left")
    found = shard_keys.Owned()
    for batch in find_owned(two_redis.home, {str(ours)}, {str(ours)}):
        found.add(batch)
    names = [*found.others, *found.beside_events()]
    assert names == [name]
    copy_keys(two_redis.home, two_redis.other, names)
    copy_keys(two_redis.home, two_redis.other, names)
    assert two_redis.other.get(name) == b"kept"
    assert 900 < int(two_redis.other.ttl(name)) <= 1000


def make(kind: str, an_id: UUID) -> str:
    function: Any = getattr(keys, kind)
    count = len(inspect.signature(function).parameters)
    return str(function(an_id, *["x"] * (count - 1)))


def test_a_lock_of_a_process_stays_where_the_process_is(redis_client: redis.Redis) -> None:
    redis_client.set(keys.token_lease("7999"), "me")
    (found,) = find_owned(redis_client, {"7999"}, {"7999"})
    assert found.others == []


def test_a_second_look_asks_nothing_about_further_organizations(redis_client: redis.Redis) -> None:
    """Requests are held meanwhile. A record that is new by then is found."""
    ours, theirs = str(uuid4()), str(uuid4())
    for _ in range(50):
        redis_client.hset(keys.event(uuid4()), mapping={"tenant": theirs, "state": "sent"})
    foreign: set[str] = set()
    (first,) = find_owned(redis_client, {ours}, {ours}, foreign)
    assert (len(first.records), len(foreign)) == (0, 50)
    added = keys.event(uuid4())
    redis_client.hset(added, mapping={"tenant": ours, "state": "sent"})
    redis_client.config_resetstat()
    (second,) = find_owned(redis_client, {ours}, {ours}, foreign)
    assert list(second.records) == [added]
    stats: Any = redis_client.info("commandstats")
    assert stats["cmdstat_hmget"]["calls"] == 1

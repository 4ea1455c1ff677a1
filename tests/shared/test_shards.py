"""Which organization is on which shard."""

from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ConfigurationError, OverloadedError
from shared.redis import keys
from shared.route_cache import IntegrationRoute, RouteCache
from shared.shards import EVERYTHING, ShardPart, ShardTable, choose_shard, find_owners

NAMES = st.lists(st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True), min_size=1, unique=True)


@given(names=NAMES, further=st.from_regex(r"[A-Z]{1,12}", fullmatch=True), organization=st.uuids())
def test_a_further_shard_takes_organizations_and_moves_none_between_the_others(
    names: list[str], further: str, organization: UUID
) -> None:
    """The order of the setting counts for nothing, either."""
    chosen = choose_shard(names, organization)
    assert chosen == choose_shard(names[::-1], organization)
    assert choose_shard([*names, further], organization) in {chosen, further}


def test_shards_get_about_as_many_organizations() -> None:
    """Of 4,000 organizations each of four shards has a thousand, within a tenth."""
    counts = Counter(choose_shard("abcd", UUID(int=number)) for number in range(4000))
    assert all(900 < count < 1100 for count in counts.values())
    assert set(counts) == set("abcd")


def test_an_organization_stays_where_it_was_put(redis_client: redis.Redis) -> None:
    """A shard more, or the setting in a different order, moves no organization."""
    ShardTable(["a"], redis_client).begin([])
    organizations = [uuid4() for _ in range(30)]
    assert {ShardTable(["a"], redis_client).find(each) for each in organizations} == {"a"}
    wider = ShardTable(["a", "b"], redis_client)
    assert {wider.find(each) for each in organizations} == {"a"}
    new = [wider.find(uuid4()) for _ in range(60)]
    assert set(new) == {"a", "b"}


def test_what_a_single_redis_had_is_on_the_home(redis_client: redis.Redis) -> None:
    """Shards begin with organizations that have numbers, events that wait or unknown events."""
    owners = [uuid4() for _ in range(3)]
    route = IntegrationRoute(
        id=uuid4(),
        organization_id=owners[0],
        name="One",
        account="79990000001",
        is_primary=True,
        is_enabled=True,
    )
    RouteCache(redis_client, None).store_routes([route])
    redis_client.hset(keys.waiting("send"), str(owners[1]), 1)
    redis_client.hset(keys.waiting("webhook"), "79990000001", 1)
    redis_client.sadd(keys.UNKNOWN_TENANTS, str(owners[2]))
    assert find_owners(redis_client) == set(map(str, owners))
    table = ShardTable(["z", "b", "c", "d", "e", "f", "g", "h"], redis_client)
    table.begin([])
    assert [table.find(each) for each in owners] == ["z", "z", "z"]
    table.begin([])
    assert table.read() == {str(each): "z" for each in owners}


def test_nothing_is_put_anywhere_before_shards_began(redis_client: redis.Redis) -> None:
    """Else an organization of the single Redis would be given to a further shard."""
    table = ShardTable(["a", "b"], redis_client)
    with pytest.raises(OverloadedError, match="start a web process"):
        table.find(uuid4())
    assert not redis_client.exists(keys.SHARD_OF)


def test_a_home_without_notes_beside_used_shards_is_refused(redis_client: redis.Redis) -> None:
    """Its organizations would be spread anew, apart from what waits for them."""
    redis_client.set(keys.FENCE, 1)
    with pytest.raises(ConfigurationError, match="shards are in use"):
        ShardTable(["a", "b"], redis_client).begin([redis_client])


def test_a_shard_with_organizations_cannot_be_left_out(redis_client: redis.Redis) -> None:
    """Its name is given, so that the setting can be mended."""
    redis_client.hset(keys.SHARD_OF, mapping={"": "a", str(uuid4()): "b"})
    with pytest.raises(ConfigurationError, match="organizations are on b,"):
        ShardTable(["a"], redis_client).begin([])


def test_a_part_has_the_organizations_of_its_shard(redis_client: redis.Redis) -> None:
    """An organization that moves is in no part; a single Redis has every organization."""
    here, there, moving = uuid4(), uuid4(), uuid4()
    notes: dict[Any, Any] = {"": "a", str(here): "a", str(there): "b", str(moving): "a>b"}
    redis_client.hset(keys.SHARD_OF, mapping=notes)
    part = ShardPart(ShardTable(["a", "b"], redis_client), "a")
    assert [part.has(each) for each in (here, there, moving)] == [True, False, False]
    assert set(part.list_others()) == {there, moving}
    assert EVERYTHING.has(there)
    assert EVERYTHING.list_others() == []

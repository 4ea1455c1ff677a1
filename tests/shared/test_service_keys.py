"""Service keys: stored by their hash, revocable, known while Supabase is away."""

import socket
from uuid import UUID, uuid4

import psycopg
import pytest
import redis
from pydantic import SecretStr

from sandbox.ports import LOCALHOST, free_port
from sandbox.supabase.project import Supabase
from shared.database import Database
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.redis import keys
from shared.service_keys import (
    LOOKUP_DEADLINE_S,
    StoredKeys,
    forget_key,
    hash_service_key,
    make_key,
)
from shared.settings import SupabaseSettings
from tests.fixtures.service_keys import copy_key
from tests.fixtures.waiting import shortest_s


def connect(world: Supabase, url: str | None = None) -> Database:
    return Database(
        SupabaseSettings.model_validate(
            {
                "supabase_url": url or world.url,
                "supabase_anon_key": world.anon_key,
                "supabase_service_role_key": SecretStr(world.service_role_key),
            }
        )
    )


@pytest.fixture
def organizations(database_url: str) -> list[UUID]:
    """Return the ids of two organizations, in order."""
    ids = sorted([uuid4(), uuid4()])
    with psycopg.connect(database_url) as connection:
        for each in ids:
            connection.execute(
                "insert into public.organizations (id, name) values (%s, 'Test')", (each,)
            )
    return ids


def test_a_key_is_stored_by_its_hash(
    supabase_world: Supabase, organizations: list[UUID], database_url: str
) -> None:
    """Its last use is noted; a revoked key is gone at once; a deleted organization leaves it."""
    key = make_key()
    with connect(supabase_world) as database:
        stored = database.service_keys
        key_id = stored.create("crm", hash_service_key(key), organizations, ["messages:read"])
        (before,) = stored.list_all()
        assert (before.name, before.last_used_at, before.revoked_at) == ("crm", None, None)
        found = stored.use(hash_service_key(key))
        assert found
        assert (found.id, found.organization_ids) == (key_id, organizations)
        assert stored.list_all()[0].last_used_at
        assert stored.use(hash_service_key(make_key())) is None
        with psycopg.connect(database_url) as connection:
            text = connection.execute("select k::text from wpp_service_keys k").fetchone()
            connection.execute("delete from organizations where id = %s", (organizations[0],))
        assert key not in str(text)
        left = stored.use(hash_service_key(key))
        assert left
        assert left.organization_ids == organizations[1:]
        revoked = stored.revoke(key_id)
        assert revoked
        assert stored.revoke(key_id) is None
        assert stored.use(hash_service_key(key)) is None
        assert stored.list_all()[0].revoked_at
        with pytest.raises(DatabaseError):
            stored.create("none", hash_service_key(make_key()), [], ["messages:read"])


def test_a_key_that_is_in_use_is_known_while_supabase_is_away(
    supabase_world: Supabase, organizations: list[UUID], redis_client: redis.Redis
) -> None:
    """Unless it was revoked; a new one is not known."""
    key, unused = make_key(), make_key()
    with (
        connect(supabase_world) as database,
        connect(supabase_world, f"http://{LOCALHOST}:{free_port()}") as away,
    ):
        for each in (key, unused):
            database.service_keys.create(
                "crm", hash_service_key(each), organizations, ["messages:read"]
            )
        found = StoredKeys(database, redis_client).find(key)
        assert found
        assert StoredKeys(away, redis_client).find(key) == found
        with pytest.raises(DatabaseUnavailableError):
            StoredKeys(away, redis_client).find(unused)
        database.service_keys.revoke(found.id)
        assert StoredKeys(database, redis_client).find(key) is None
        assert not redis_client.exists(keys.service_key(hash_service_key(key)))
        StoredKeys(database, redis_client).find(unused)
        forget_key(redis_client, hash_service_key(unused))
        with pytest.raises(DatabaseUnavailableError):
            StoredKeys(away, redis_client).find(unused)


def test_a_hanging_supabase_delays_one_look_up(
    supabase_world: Supabase, redis_client: redis.Redis
) -> None:
    """Keys with a copy are answered from it at once after that."""
    made = [copy_key(redis_client, uuid4()) for _ in range(20)]
    with socket.create_server((LOCALHOST, 0)) as silent:
        address = f"http://{LOCALHOST}:{silent.getsockname()[1]}"
        with connect(supabase_world, address) as hanging:

            def find() -> None:
                stored = StoredKeys(hanging, redis_client, away_s=600)
                assert all(stored.find(key) for key in made)

            most_s = 2 * LOOKUP_DEADLINE_S + 1
            assert shortest_s(find, most_s) < most_s

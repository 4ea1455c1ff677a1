"""Who is an operator, and until when."""

import asyncio
import threading
from asyncio import run
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
import redis

from sandbox.supabase.project import Supabase
from shared.database import Database
from shared.errors import OverloadedError
from shared.settings import SupabaseSettings
from tests.fixtures.service_keys import store_operator_key
from tests.fixtures.waiting import wait_until
from tests.workers.ingress.members import Member
from tests.workers.ingress.test_auth import FakeLookup, token
from workers.ingress import lookups
from workers.ingress.console.operators import Operators
from workers.ingress.token_verifier import TokenVerifier

AWAY = "http://127.0.0.1:9"
CHECK_S = 30.0
"""As `WPP_SESSION_CHECK_S` in every process: a revoked key is out within this time."""


Start = Callable[..., Operators]


@pytest.fixture
def start(
    supabase_world: Supabase, redis_client: redis.Redis, database_url: str
) -> Iterator[Start]:
    """Return a function that returns the operators of a process that has just started."""
    del database_url  # asked for because it empties the tables
    with ExitStack() as stack:

        def start_(url: str | None = None) -> Operators:
            settings: dict[str, Any] = {
                "supabase_url": url or supabase_world.url,
                "supabase_anon_key": supabase_world.anon_key,
                "supabase_service_role_key": supabase_world.service_role_key,
            }
            database = stack.enter_context(Database(SupabaseSettings.model_validate(settings)))
            issuer = f"{supabase_world.url}/auth/v1"
            verifier = TokenVerifier(database.users.fetch_public_keys, issuer, None)
            return Operators.new(database, redis_client, verifier, CHECK_S)

        yield start_


@pytest.fixture
def key(database_url: str) -> str:
    return store_operator_key(database_url)


def test_a_key_that_was_revoked_ends_its_sessions(
    start: Start, database_url: str, key: str
) -> None:
    """In a process that has not asked within half a minute; also while Supabase is away."""
    found = run(start().find_by_key(key))
    assert found
    away = start(AWAY)
    assert run(away.find_by_key(key)) == found
    assert run(away.is_valid(found.credential))
    with psycopg.connect(database_url) as connection:
        connection.execute("update public.wpp_operator_keys set revoked_at = now()")
    later = start()
    assert not run(later.is_valid(found.credential))
    assert run(later.find_by_key(key)) is None


@contextmanager
def role(database_url: str, member: Member, metadata: str) -> Iterator[None]:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update auth.users set raw_app_meta_data = %s where id = %s", (metadata, member.id)
        )
    yield


def test_a_user_is_an_operator_as_long_as_the_role_says_so(
    start: Start, supabase_world: Supabase, database_url: str
) -> None:
    """What users may write about themselves makes nobody an operator."""
    member = Member.new(supabase_world, database_url)
    token = member.session["access_token"]
    with psycopg.connect(database_url) as connection:
        connection.execute(
            'update auth.users set raw_user_meta_data = \'{"wpp_role": "operator"}\' where id = %s',
            (member.id,),
        )
    assert run(start().find_by_token(token)) is None
    with role(database_url, member, '{"wpp_role": "operator"}'):
        found = run(start().find_by_token(token))
        assert found
        assert found.subject == f"operator user {member.id}"
        assert run(start().is_valid(found.credential))
    for metadata in ('{"wpp_role": "reader"}', '{"wpp_role": ["operator"]}', "{}"):
        with role(database_url, member, metadata):
            now = start()
            assert not run(now.is_valid(found.credential))
            assert run(now.find_by_token(token)) is None


def test_a_banned_user_is_no_operator_until_the_ban_ends(
    start: Start, supabase_world: Supabase, database_url: str
) -> None:
    """Although the role says so, and the session was begun before."""
    member = Member.new(supabase_world, database_url)
    token = member.session["access_token"]
    with role(database_url, member, '{"wpp_role": "operator"}'):
        found = run(start().find_by_token(token))
    assert found
    for until, is_operator in (("1 hour", False), ("-1 hour", True)):
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "update auth.users set banned_until = now() + %s::interval where id = %s",
                (until, member.id),
            )
        now = start()
        assert run(now.is_valid(found.credential)) == is_operator
        assert (run(now.find_by_token(token)) == found) == is_operator


def test_forged_tokens_leave_threads_to_the_rest() -> None:
    """Supabase answers late: few tokens are looked up at a time, and the rest is told to wait."""
    answered = threading.Event()
    lookup = cast("Any", FakeLookup(None, until=answered))
    database: Any = SimpleNamespace(users=SimpleNamespace(find_operator=lookup))
    unsure: Any = SimpleNamespace(verify=lambda _: asyncio.sleep(0, None))

    async def story() -> list[Any]:
        operators = Operators(cast("Any", None), database, unsure, CHECK_S)
        asked = [asyncio.create_task(operators.find_by_token(token())) for _ in range(80)]
        waits = (lookups.MAX_LOOKUPS, 80 - lookups.MAX_LOOKUPS)
        await asyncio.to_thread(
            wait_until,
            lambda: (lookup.max_concurrent, sum(each.done() for each in asked)) == waits,
            "so many look-ups, and the end of the wait for one",
        )
        answered.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    found = run(story())
    assert lookup.max_concurrent == len(lookup.calls) == found.count(None) == lookups.MAX_LOOKUPS
    refused = [each for each in found if isinstance(each, OverloadedError)]
    assert len(refused) == 80 - lookups.MAX_LOOKUPS
    assert {each.retry_after_s for each in refused} == {1}

"""The caller that a bearer token stands for."""

import asyncio
import time
from typing import Any
from uuid import UUID, uuid4

import jwt

from shared import signed_keys
from shared.errors import DatabaseUnavailableError
from workers.ingress.auth import SessionCache
from workers.ingress.callers import Callers

SECRETS = [b"s" * 32]


class FakeSupabase:
    """Knows one user; `away` makes it fail."""

    def __init__(self) -> None:
        self.organization_id: UUID | None = uuid4()
        self.away = False

    def find_organization(self, _token: str) -> UUID | None:
        if self.away:
            msg = "Supabase: does not answer"
            raise DatabaseUnavailableError(msg)
        return self.organization_id


def make_token(valid_s: float = 3600) -> str:
    return jwt.encode({"sub": "user", "exp": time.time() + valid_s}, "k" * 32, "HS256")


def run(story: Any) -> None:
    async def whole() -> None:
        supabase = FakeSupabase()
        cache = SessionCache(supabase.find_organization, 0.05, negative_ttl_s=0.05)
        await story(Callers(SECRETS, cache), supabase)

    asyncio.run(whole())


def test_a_service_key_is_known_without_a_call() -> None:
    """It does not expire; its quota is that of the organization."""

    async def story(callers: Callers, supabase: FakeSupabase) -> None:
        supabase.away = True
        organization_id = uuid4()
        key = signed_keys.make_service_key(organization_id, SECRETS)
        assert await callers.is_genuine(key)
        caller = await callers.find(key)
        assert caller
        assert (caller.organization_id, caller.lifetime_s) == (organization_id, float("inf"))
        assert await callers.is_valid(caller)
        assert key not in repr(caller)

    run(story)


def test_a_session_ends_when_supabase_says_so() -> None:
    """Not while Supabase is away, unless the token expires."""

    async def story(callers: Callers, supabase: FakeSupabase) -> None:
        token = make_token()
        assert not await callers.is_genuine(token)
        caller = await callers.find(token)
        assert caller
        assert await callers.is_genuine(token)
        assert 3500 < caller.lifetime_s <= 3600
        await asyncio.sleep(0.06)
        supabase.away = True
        assert await callers.is_valid(caller)
        supabase.away = False
        supabase.organization_id = uuid4()
        assert not await callers.is_valid(caller), "the user has another organization"
        await asyncio.sleep(0.06)
        supabase.organization_id = None
        assert not await callers.is_valid(caller)
        assert await callers.find(make_token(-1)) is None

    run(story)

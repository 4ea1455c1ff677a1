"""How often Supabase is asked about sessions."""

import asyncio
import base64
import threading
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from pydantic import SecretStr

from shared.errors import DatabaseUnavailableError, OverloadedError
from tests.fixtures.waiting import wait_until
from tests.workers.ingress.clocks import ManualClock
from workers.ingress import auth, lookups
from workers.ingress.auth import SessionCache
from workers.ingress.token_verifier import TokenVerifier

HOUR_S = 3600
Story = Callable[[SessionCache], Awaitable[Any]]


def token(**claims: Any) -> str:
    """Return a token that looks like a valid session; None removes a claim."""
    session = {"sub": str(uuid4()), "exp": int(time.time()) + HOUR_S, **claims}
    present = {name: value for name, value in session.items() if value is not None}
    header, payload, signature = jwt.encode(present, "k" * 32, algorithm="HS256").split(".")
    return f"{header}.{payload}.{signature}"


def with_payload(payload: bytes) -> str:
    """Return a token with this payload instead of claims."""
    header, _, signature = token().split(".")
    return f"{header}.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.{signature}"


class FakeLookup:
    """Answers `answer` after `delay_s` or at an event, and records its calls."""

    def __init__(
        self, answer: UUID | None, delay_s: float = 0, until: threading.Event | None = None
    ) -> None:
        self.answer = answer
        self.delay_s = delay_s
        self.until = until
        self.calls: list[str] = []
        self.max_concurrent = 0
        self._concurrent = 0
        self._lock = threading.Lock()

    def __call__(self, bearer: str) -> UUID | None:
        with self._lock:
            self.calls.append(bearer)
            self._concurrent += 1
            self.max_concurrent = max(self.max_concurrent, self._concurrent)
        time.sleep(self.delay_s)
        if self.until:
            self.until.wait(30)
        with self._lock:
            self._concurrent -= 1
        return self.answer


def run(lookup: Callable[[str], UUID | None], story: Story, **options: Any) -> Any:
    async def whole() -> Any:
        return await story(SessionCache(lookup, **{"positive_ttl_s": 30.0, **options}))

    return asyncio.run(whole())


async def find(cache: SessionCache, bearer: str) -> UUID | None:
    """Return the organization of a session."""
    session = await cache.find_session(bearer)
    return session.organization_id if session else None


@pytest.mark.parametrize(
    "bearer",
    [
        "nonsense",
        "a.b.c",
        "..",
        token(exp=1),
        token(exp=None),
        token(exp="tomorrow"),
        token(exp=True),
        token(exp=float("inf")),
        token(sub=None),
        with_payload(b'{"sub": 7, "exp": 9999999999}'),
        f"{token()}é",
        f"{token()}{'A' * 10_000}",
        with_payload(b"[" * 5000),
        with_payload(b"[1]"),
    ],
    ids=range(14),
)
def test_a_token_that_cannot_be_a_session_is_rejected_without_a_call(bearer: str) -> None:
    """It is not a JWT, not a user's, or it has expired."""
    lookup = FakeLookup(uuid4())
    assert run(lookup, lambda cache: find(cache, bearer)) is None
    assert lookup.calls == []


def test_a_token_that_supabase_has_not_signed_is_rejected_without_a_call() -> None:
    """Where a key of the project is known."""
    lookup = FakeLookup(uuid4())
    verifier = TokenVerifier(dict, "issuer", SecretStr("the secret of the project, 32 characters"))
    assert run(lookup, lambda cache: find(cache, token()), verifier=verifier) is None
    assert lookup.calls == []


def test_a_confirmed_session_is_looked_up_once_per_ttl(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Concurrent requests share the look-up; a session that has expired is rejected."""
    began_s = clock.now_s
    monkeypatch.setattr(auth, "time", SimpleNamespace(time=clock))
    organization_id = uuid4()
    lookup = FakeLookup(organization_id, delay_s=0.05)

    async def story(cache: SessionCache) -> None:
        bearer, short = token(exp=began_s + HOUR_S), token(exp=began_s + 20)
        for _ in range(2):
            found = await asyncio.gather(*(find(cache, bearer) for _ in range(20)))
            assert set(found) == {organization_id}
        assert len(lookup.calls) == 1
        assert await find(cache, short) == organization_id
        clock.pass_time(30)
        assert await find(cache, short) is None
        assert await find(cache, bearer) == organization_id
        assert lookup.calls == [bearer, short, bearer]

    run(lookup, story, positive_ttl_s=30.0)


def test_a_refused_token_is_looked_up_once_per_ttl(clock: ManualClock) -> None:
    """Another token is looked up on its own."""
    lookup = FakeLookup(None)

    async def story(cache: SessionCache) -> None:
        bearer = token()
        for _ in range(5):
            assert await find(cache, bearer) is None
        assert len(lookup.calls) == 1
        assert await find(cache, token()) is None
        clock.pass_time(10)
        await find(cache, bearer)
        assert len(lookup.calls) == 3

    run(lookup, story, negative_ttl_s=10.0)


def test_concurrent_lookups_are_limited() -> None:
    """A request that waits too long for a look-up is answered with 503, not with 401."""
    answered = threading.Event()
    lookup = FakeLookup(None, until=answered)

    async def story(cache: SessionCache) -> None:
        asked = [asyncio.create_task(find(cache, token())) for _ in range(40)]
        waits = (lookups.MAX_LOOKUPS, 40 - lookups.MAX_LOOKUPS)
        await asyncio.to_thread(
            wait_until,
            lambda: (lookup.max_concurrent, sum(each.done() for each in asked)) == waits,
            "so many look-ups, and the end of the wait for one",
        )
        answered.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert lookup.max_concurrent == lookups.MAX_LOOKUPS
        assert found.count(None) == len(lookup.calls) < 40
        assert {type(each) for each in found} == {type(None), OverloadedError}

    run(lookup, story, max_wait_s=0.3)


def test_strangers_do_not_delay_known_tokens(clock: ManualClock) -> None:
    """A token that was valid lately has look-ups of its own."""
    strange = threading.Event()
    known = token()

    def lookup(bearer: str) -> UUID | None:
        if bearer == known:
            return uuid4()
        strange.wait(20)
        return None

    async def story(cache: SessionCache) -> None:
        assert await find(cache, known)
        clock.pass_time(30)
        strangers = [asyncio.create_task(find(cache, token())) for _ in range(20)]
        await asyncio.sleep(0.05)
        assert await find(cache, known)
        strange.set()
        await asyncio.gather(*strangers)

    run(lookup, story, positive_ttl_s=30.0, max_wait_s=15)


def test_an_outage_of_supabase_is_not_cached() -> None:
    """The session is valid as soon as Supabase answers again."""
    organization_id, outages = uuid4(), [True]

    def lookup(_: str) -> UUID:
        if outages:
            outages.pop()
            msg = "Supabase: does not answer"
            raise DatabaseUnavailableError(msg)
        return organization_id

    async def story(cache: SessionCache) -> None:
        bearer = token()
        with pytest.raises(DatabaseUnavailableError):
            await find(cache, bearer)
        assert await find(cache, bearer) == organization_id

    run(lookup, story)


def test_the_cache_is_bounded() -> None:
    """The oldest entry is evicted; refused tokens do not evict confirmed sessions."""
    lookup = FakeLookup(uuid4())

    async def story(cache: SessionCache) -> None:
        good = token()
        await find(cache, good)
        lookup.answer = None
        refused = [token() for _ in range(5)]
        for bearer in [*refused, good, *refused[-3:]]:
            await find(cache, bearer)
        assert lookup.calls == [good, *refused]

    run(lookup, story, max_entries=3)

"""Whom Supabase is asked about, and how often."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.errors import DatabaseUnavailableError, OverloadedError
from workers.ingress import auth
from workers.ingress.auth import Sessions

HOUR_S = 3600


def token(signature: str = "signature", **claims: Any) -> str:
    """Return what looks like a living session of Supabase, with `claims` changed."""
    whole = {"sub": str(uuid4()), "exp": int(time.time()) + HOUR_S, **claims}
    parts = [{"alg": "HS256"}, {name: value for name, value in whole.items() if value is not None}]
    encoded = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
    ]
    return ".".join([*encoded, signature])


class Supabase:
    """Answers after `late_s`, and remembers who asked."""

    def __init__(self, answer: UUID | None, late_s: float = 0) -> None:
        self.answer, self.late_s = answer, late_s
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def __call__(self, bearer: str) -> UUID | None:
        with self._lock:
            self.asked.append(bearer)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.late_s)
        with self._lock:
            self.at_once -= 1
        return self.answer


def run(supabase: Callable[[str], UUID | None], story: Callable[[Sessions], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        return await story(Sessions(supabase))

    return asyncio.run(whole())


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
        token(sub=7),
        token("é"),
        token("s" * 10_000),
        f"a.{base64.urlsafe_b64encode(b'[' * 5000).decode()}.c",
        f"a.{base64.urlsafe_b64encode(b'[1]').decode()}.c",
    ],
    ids=range(14),
)
def test_what_cannot_be_a_session_is_not_asked_about(bearer: str) -> None:
    """Its own text says so: no JWT, no person's, or over."""
    supabase = Supabase(uuid4())
    assert run(supabase, lambda opened: opened.organization(bearer)) is None
    assert supabase.asked == []


def test_a_session_is_asked_about_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by many requests at the same moment; and not for longer than it lives."""
    organization_id = uuid4()
    supabase = Supabase(organization_id, late_s=0.05)
    monkeypatch.setattr(auth, "TRUSTED_S", 0.5)

    async def story(opened: Sessions) -> None:
        bearer, short = token(), token(exp=time.time() + 0.3)
        for _ in range(2):
            found = await asyncio.gather(*(opened.organization(bearer) for _ in range(20)))
            assert set(found) == {organization_id}
        assert len(supabase.asked) == 1
        assert await opened.organization(short) == organization_id
        await asyncio.sleep(0.6)
        assert await opened.organization(short) is None
        assert await opened.organization(bearer) == organization_id
        assert supabase.asked == [bearer, short, bearer]

    run(supabase, story)


def test_a_refusal_counts_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tries one again and again costs one call; another token is another question."""
    supabase = Supabase(None)
    monkeypatch.setattr(auth, "REFUSED_S", 0.3)

    async def story(opened: Sessions) -> None:
        bearer = token()
        for _ in range(5):
            assert await opened.organization(bearer) is None
        assert len(supabase.asked) == 1
        assert await opened.organization(token()) is None
        await asyncio.sleep(0.4)
        await opened.organization(bearer)
        assert len(supabase.asked) == 3

    run(supabase, story)


def test_a_crowd_of_strangers_takes_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight are looked up at a time; who waits for too long is told to come again, not refused."""
    supabase = Supabase(None, late_s=0.2)
    monkeypatch.setattr(auth, "PATIENCE_S", 0.3)

    async def story(opened: Sessions) -> None:
        found = await asyncio.gather(
            *(opened.organization(token()) for _ in range(40)), return_exceptions=True
        )
        assert supabase.most_at_once == auth.AT_ONCE
        assert found.count(None) == len(supabase.asked) < 40
        assert {type(each) for each in found} == {type(None), OverloadedError}

    run(supabase, story)


def test_an_outage_is_no_refusal() -> None:
    """503 while Supabase is away, and the session is good again as soon as it is back."""
    organization_id, away = uuid4(), [True]

    def supabase(_: str) -> UUID:
        if away:
            away.pop()
            msg = "Supabase: does not answer"
            raise DatabaseUnavailableError(msg)
        return organization_id

    async def story(opened: Sessions) -> None:
        bearer = token()
        with pytest.raises(DatabaseUnavailableError):
            await opened.organization(bearer)
        assert await opened.organization(bearer) == organization_id

    run(supabase, story)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes; refusals push out no session that is trusted."""
    supabase = Supabase(uuid4())
    monkeypatch.setattr(auth, "MOST", 3)

    async def story(opened: Sessions) -> None:
        good = token()
        await opened.organization(good)
        supabase.answer = None
        strangers = [token() for _ in range(5)]
        for bearer in [*strangers, good, *strangers[-3:]]:
            await opened.organization(bearer)
        assert supabase.asked == [good, *strangers]

    run(supabase, story)

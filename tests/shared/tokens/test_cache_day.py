"""Tokens over a simulated day: fakeredis uses Python's clock, which the test moves."""

import random
import threading
import time
from itertools import pairwise

import fakeredis
import pytest
from pydantic import SecretStr

from shared.tokens import TokenCache
from shared.tokens.expiry import read_expiry_s
from shared.tokens.store import MintedToken
from tests.shared.tokens.stores import MemoryStore
from tests.shared.tokens.test_expiry import encode_jwt

ACCOUNT = "0000000000042"
LIFETIME_S = 900.0


def test_a_day_of_four_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call every 10 s from four workers in turn: at most 1 refresh in 9 min, and no 401."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    minted_at: list[float] = []

    def mint(_api_key: SecretStr) -> MintedToken:
        minted_at.append(now)
        return MintedToken(SecretStr(str(now + LIFETIME_S)), LIFETIME_S)

    server = fakeredis.FakeServer()
    workers = [
        TokenCache(fakeredis.FakeRedis(server=server), mint, MemoryStore(), clock=lambda: now)
        for _ in range(4)
    ]
    rng = random.Random(4)  # noqa: S311 - a repeatable day
    expired_uses = 0
    for _ in range(24 * 360):
        token = rng.choice(workers).get(ACCOUNT)
        expired_uses += now >= float(token.value.get_secret_value())
        for thread in threading.enumerate():
            if thread.name.startswith("token-refresh"):
                thread.join()
        now += 10
    assert expired_uses == 0
    gaps = [later - earlier for earlier, later in pairwise(minted_at)]
    assert min(gaps) >= 9 * 60
    assert max(gaps) < LIFETIME_S - 60, "refreshed before the token is unusable"


def test_an_hour_of_a_platform_that_reuses_a_token_until_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refresh ahead, a second with a minute left, then a few until the next token; no 401."""
    now = begun = float(int(time.time()))
    monkeypatch.setattr(time, "time", lambda: now)
    minted_at: list[float] = []

    def mint(_api_key: SecretStr) -> MintedToken:
        minted_at.append(now)
        issued = begun + (now - begun) // LIFETIME_S * LIFETIME_S
        return MintedToken(
            SecretStr(encode_jwt(iat=issued, exp=issued + LIFETIME_S)), issued + LIFETIME_S - now
        )

    server = fakeredis.FakeServer()
    workers = [
        TokenCache(fakeredis.FakeRedis(server=server), mint, MemoryStore(), clock=lambda: now)
        for _ in range(4)
    ]
    rng = random.Random(4)  # noqa: S311 - a repeatable hour
    expired_uses = 0
    for _ in range(3600):
        token = rng.choice(workers).get(ACCOUNT)
        expired_uses += now >= (read_expiry_s(token.value.get_secret_value()) or 0)
        for thread in threading.enumerate():
            if thread.name.startswith("token-refresh"):
                thread.join()
        now += 1
    assert expired_uses == 0
    for quarter in range(4):
        ends = begun + (quarter + 1) * LIFETIME_S
        calls = [at for at in minted_at if ends - LIFETIME_S <= at < ends]
        assert len([at for at in calls if at < ends - 61]) <= 2
        assert len(calls) <= 16

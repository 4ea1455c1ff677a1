"""A day in the life of a token, on a clock that the test turns: fakeredis, whose time is Python's."""

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
from tests.shared.tokens.test_expiry import jwt

ACCOUNT = "0000000000042"
LIFE_S = 900.0


def test_a_day_of_four_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """24 h of calls, one every 10 s from one of four workers: at most one refresh in 9 minutes, and no 401."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    minted_at: list[float] = []

    def mint(_api_key: SecretStr) -> MintedToken:
        minted_at.append(now)
        return MintedToken(SecretStr(str(now + LIFE_S)), LIFE_S)

    server = fakeredis.FakeServer()
    workers = [
        TokenCache(fakeredis.FakeRedis(server=server), mint, MemoryStore(), clock=lambda: now)
        for _ in range(4)
    ]
    dice = random.Random(4)  # noqa: S311 - a repeatable day
    refused = 0
    for _ in range(24 * 360):
        token = dice.choice(workers).get(ACCOUNT)
        refused += now >= float(token.value.get_secret_value())
        for thread in threading.enumerate():
            if thread.name.startswith("token-refresh"):
                thread.join()
        now += 10
    assert refused == 0
    gaps = [later - earlier for earlier, later in pairwise(minted_at)]
    assert min(gaps) >= 9 * 60
    assert max(gaps) < LIFE_S - 60, "refreshed ahead, never when it has stopped to count"


def test_an_hour_of_a_platform_that_hands_out_one_token_until_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked once ahead, once when a minute is left, and then some times until it has another; never a 401."""
    now = begun = float(int(time.time()))
    monkeypatch.setattr(time, "time", lambda: now)
    minted_at: list[float] = []

    def mint(_api_key: SecretStr) -> MintedToken:
        minted_at.append(now)
        issued = begun + (now - begun) // LIFE_S * LIFE_S
        return MintedToken(SecretStr(jwt(iat=issued, exp=issued + LIFE_S)), issued + LIFE_S - now)

    server = fakeredis.FakeServer()
    workers = [
        TokenCache(fakeredis.FakeRedis(server=server), mint, MemoryStore(), clock=lambda: now)
        for _ in range(4)
    ]
    dice = random.Random(4)  # noqa: S311 - a repeatable hour
    refused = 0
    for _ in range(3600):
        token = dice.choice(workers).get(ACCOUNT)
        refused += now >= (read_expiry_s(token.value.get_secret_value()) or 0)
        for thread in threading.enumerate():
            if thread.name.startswith("token-refresh"):
                thread.join()
        now += 1
    assert refused == 0
    for quarter in range(4):
        ends = begun + (quarter + 1) * LIFE_S
        calls = [at for at in minted_at if ends - LIFE_S <= at < ends]
        assert len([at for at in calls if at < ends - 61]) <= 2
        assert len(calls) <= 16

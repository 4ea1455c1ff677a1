"""An account without a token that the platform takes: however many lanes wait, it is asked seldom."""

import threading
import time
from itertools import pairwise
from typing import Any

import httpx
import pytest
import redis
from pydantic import SecretStr

from shared import routing
from shared.errors import InvalidApiKeyError, TokenPausedError
from shared.events import Message, SendEvent
from shared.lanes.client import Postponed
from shared.platform.account import PlatformAccount
from shared.redis import keys
from shared.settings import EngineSettings
from shared.tokens import TokenAuth, TokenCache
from shared.tokens.store import MintedToken
from tests.shared.tokens.stores import MemoryStore
from tests.workers.send.test_handler import INTEGRATION, ORGANIZATION, ROUTE, claimed
from tests.workers.test_gates import GATE, World
from workers.runner import parse_first
from workers.send import handler as send

THREADS = 8
PAUSES_S = (5, 10, 20, 40, 60, 60)


class Played(World):
    """A platform that hands out tokens and may take none, or refuse the key; its book says when it was asked for one.

    Two workers: each has its own cache. Time passes for the memory of tokens as well.
    """

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self.engine = EngineSettings()
        self.asked_at: list[float] = []
        self.takes_tokens = self.takes_key = True
        self.caches = [TokenCache(client, self.mint, MemoryStore()) for _ in range(2)]
        self.tokens, self._lock = self.caches[0], threading.Lock()
        self.platform_answers = self.answer

    def as_account(self, account: str) -> PlatformAccount:
        cache = self.caches[len(self.asked_at) % 2]
        return self.platform.as_account(account, TokenAuth(cache, account))

    def mint(self, _api_key: SecretStr) -> MintedToken:
        with self._lock:
            self.asked_at.append(time.monotonic() + self.later_s)
        if not self.takes_key:
            msg = "connect it again with force_recreate"
            raise InvalidApiKeyError(msg)
        return MintedToken(SecretStr(f"token-{len(self.asked_at)}"), 900)

    def answer(self, _request: httpx.Request) -> httpx.Response:
        return (
            httpx.Response(200, json={"taskId": "t"}) if self.takes_tokens else httpx.Response(401)
        )

    def write(self, lanes: int) -> None:
        for number in range(lanes):
            to = f"+7999{number:07d}"
            self.lanes.append(
                routing.route_send(ORGANIZATION, INTEGRATION, Message(to=to, text="Hello"))
            )

    def drain_together(self) -> int:
        handled: list[int] = []
        threads = [
            threading.Thread(target=lambda: handled.append(self.drain())) for _ in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(handled)

    def pass_time(self, seconds: float) -> None:
        client: Any = self.redis
        key = keys.token(ROUTE.account)
        if (left_ms := client.pttl(f"{key}:refused")) > 0:
            client.pexpire(f"{key}:refused", max(1, left_ms - int(seconds * 1000)))
        if pause := client.get(f"{key}:pause"):
            failures, _, until = pause.decode().partition(":")
            client.set(
                f"{key}:pause", f"{failures}:{int(until) - int(seconds * 1000)}", keepttl=True
            )
        super().pass_time(seconds)


@pytest.fixture
def played(redis_client: "redis.Redis") -> Played:
    return Played(redis_client)


def test_a_thousand_lanes_whose_tokens_are_refused_ask_some_times_a_minute(played: Played) -> None:
    """Two tokens at once, then one after 5 s, 10 s, 20 s, 40 s, and one a minute; what waits goes out in the end."""
    played.takes_tokens = False
    played.write(1000)
    assert played.drain_together() <= 4 * THREADS
    assert len(played.asked_at) == 2
    for pause_s in PAUSES_S:
        for part in (0.25, 1):
            played.pass_time(pause_s * part)
            played.drain_together()
    gaps = [later - earlier for earlier, later in pairwise(played.asked_at)]
    assert len(gaps) >= len(PAUSES_S)
    assert all(gap > pause_s - 0.1 for gap, pause_s in zip(gaps[1:], PAUSES_S, strict=False))
    assert played.requests < 20 * THREADS
    played.takes_tokens = True
    played.pass_time(61)
    for _ in range(60):
        played.drain_together()
        played.pass_time(10)  # longer than any of them was put off
    assert not played.redis.keys(keys.lane("*")), "a message still waits"


def test_a_refused_key_is_asked_with_once_a_minute(played: Played) -> None:
    """Ten minutes of waiting lanes, and of somebody who asks past their gate: the platform hears of it once in each."""
    played.takes_key = False
    played.write(20)
    for _ in range(60):
        played.drain()
        with pytest.raises(InvalidApiKeyError):
            played.caches[1].get(ROUTE.account)
        played.pass_time(10)
    assert len(played.asked_at) >= 9
    assert min(later - earlier for earlier, later in pairwise(played.asked_at)) >= 60
    assert played.requests == 0


def test_lanes_wait_at_their_gate_while_nobody_asks_for_a_token(played: Played) -> None:
    """Their waiting costs no attempt, and lengthens no pause."""
    error = TokenPausedError("none is taken", retry_after_s=7)
    assert parse_first(SendEvent, send.after)(
        claimed(played.lanes), error, ROUTE, played.services
    ) == Postponed(0, str(error))
    assert played.redis.pttl(GATE) == pytest.approx(7000, abs=2000)

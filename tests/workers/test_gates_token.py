"""An account without an accepted token causes few token requests, however many lanes wait."""

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
from shared.events import Message
from shared.lanes.types import Postponed
from shared.platform.account import PlatformAccount
from shared.redis import keys
from shared.settings import EngineSettings
from shared.tokens import TokenAuth, TokenCache
from shared.tokens.store import MintedToken
from tests.shared.tokens.stores import MemoryStore
from tests.workers.send.test_handler import INTEGRATION, ORGANIZATION, ROUTE
from tests.workers.test_gates import GATE, GateContext, handle_error

THREADS = 8
PAUSES_S = (5, 10, 20, 40, 60, 60)


class TokenContext(GateContext):
    """Two workers with a token cache each, and a platform that may refuse tokens or the key.

    `requested_at` has the time of each token request. `pass_time` also moves the tokens' clocks.
    """

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self.engine = EngineSettings()
        self.requested_at: list[float] = []
        self.accepts_tokens = True
        self.accepts_key = True
        self.caches = [TokenCache(client, self.mint, MemoryStore()) for _ in range(2)]
        self.tokens = self.caches[0]
        self._lock = threading.Lock()
        self.answer_request = self.check_token

    def as_account(self, account: str) -> PlatformAccount:
        cache = self.caches[len(self.requested_at) % 2]
        return self.platform.as_account(account, TokenAuth(cache, account))

    def mint(self, _api_key: SecretStr) -> MintedToken:
        with self._lock:
            self.requested_at.append(time.monotonic() + self.later_s)
        if not self.accepts_key:
            msg = "connect it again with force_recreate"
            raise InvalidApiKeyError(msg)
        return MintedToken(SecretStr(f"token-{len(self.requested_at)}"), 900)

    def check_token(self, _request: httpx.Request) -> httpx.Response:
        return (
            httpx.Response(200, json={"taskId": "t"})
            if self.accepts_tokens
            else httpx.Response(401)
        )

    def enqueue(self, lanes: int) -> None:
        """Enqueue a message in each of so many lanes."""
        for number in range(lanes):
            to = f"+7999{number:07d}"
            self.lanes.append(
                routing.route_send(ORGANIZATION, INTEGRATION, Message(to=to, text="Hello"))
            )

    def drain_in_threads(self) -> int:
        """Handle all ready messages in parallel; return their number."""
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
        refusal = keys.token_refusal(ROUTE.account)
        if (left_ms := client.pttl(refusal)) > 0:
            client.pexpire(refusal, max(1, left_ms - int(seconds * 1000)))
        pause = keys.token_pause(ROUTE.account)
        if value := client.get(pause):
            failures, _, until = value.decode().partition(":")
            client.set(pause, f"{failures}:{int(until) - int(seconds * 1000)}", keepttl=True)
        super().pass_time(seconds)


@pytest.fixture
def ctx(redis_client: "redis.Redis") -> TokenContext:
    return TokenContext(redis_client)


def test_refused_tokens_are_renewed_with_growing_pauses(ctx: TokenContext) -> None:
    """A thousand lanes: two tokens, then a token after 5, 10, 20, 40 s and per minute."""
    ctx.accepts_tokens = False
    ctx.enqueue(1000)
    assert ctx.drain_in_threads() <= 4 * THREADS
    assert len(ctx.requested_at) == 2
    for pause_s in PAUSES_S:
        for part in (0.25, 1):
            ctx.pass_time(pause_s * part)
            ctx.drain_in_threads()
    gaps = [later - earlier for earlier, later in pairwise(ctx.requested_at)]
    assert len(gaps) >= len(PAUSES_S)
    assert all(gap > pause_s - 0.1 for gap, pause_s in zip(gaps[1:], PAUSES_S, strict=False))
    assert ctx.requests < 20 * THREADS
    ctx.accepts_tokens = True
    ctx.pass_time(61)
    for _ in range(60):
        ctx.drain_in_threads()
        ctx.pass_time(10)  # longer than any message is postponed
    assert not ctx.redis.keys(keys.lane("*")), "a message is still queued"


def test_a_refused_key_is_tried_once_a_minute(ctx: TokenContext) -> None:
    """Ten minutes of waiting lanes, and of a caller without a gate, cause a request a minute."""
    ctx.accepts_key = False
    ctx.enqueue(20)
    for _ in range(60):
        ctx.drain()
        with pytest.raises(InvalidApiKeyError):
            ctx.caches[1].get(ROUTE.account)
        ctx.pass_time(10)
    assert len(ctx.requested_at) >= 9
    assert min(later - earlier for earlier, later in pairwise(ctx.requested_at)) >= 60
    assert ctx.requests == 0


def test_lanes_wait_at_their_gate_while_token_requests_are_paused(ctx: TokenContext) -> None:
    """The message is postponed without a delay of its own."""
    error = TokenPausedError("none is taken", retry_after_s=35)
    assert handle_error(ctx, error) == Postponed(0, str(error))
    assert ctx.redis.pttl(GATE) == pytest.approx(35_000, abs=10_000)

"""The token cache when the platform, Redis or a worker fails."""

import threading
import time
from dataclasses import replace
from functools import partial

import pytest
import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.redis import RedisServer
from shared.errors import InvalidApiKeyError, LimitedError, RefusedError, UnavailableError
from shared.redis import keys
from shared.tokens import TokenCache
from shared.tokens.store import MintedToken, Token
from tests.fixtures.tcp_proxy import TcpProxy
from tests.fixtures.waiting import shortest_s
from tests.shared.tokens.minting import ACCOUNT, QUICK_POLICY, FakeMint, token_value
from tests.shared.tokens.stores import MemoryStore


def test_a_refused_key_is_tried_once_per_refusal_ttl(redis_client: "redis.Redis") -> None:
    """All callers get the stored refusal; the platform is called again after its TTL."""
    mint = FakeMint()
    mint.failure = InvalidApiKeyError("refused; use force_recreate")
    caches = [TokenCache(redis_client, mint, MemoryStore(), policy=QUICK_POLICY) for _ in range(2)]
    for cache in caches * 10:
        with pytest.raises(InvalidApiKeyError, match="force_recreate"):
            cache.get(ACCOUNT)
    assert mint.calls == 1
    assert 15_000 < redis_client.pttl(keys.token_refusal(ACCOUNT)) <= 30_000
    redis_client.delete(keys.token_refusal(ACCOUNT))
    with pytest.raises(InvalidApiKeyError):
        caches[0].get(ACCOUNT)
    assert mint.calls == 2


@pytest.mark.parametrize(
    "failure", [UnavailableError("away"), RefusedError("a proxy says no", status=403)]
)
def test_a_platform_outage_pauses_the_account(
    redis_client: "redis.Redis", failure: Exception
) -> None:
    """A failure to get a token is temporary for the message, which is tried again later."""
    mint = FakeMint()
    mint.failure = failure
    cache = TokenCache(redis_client, mint, MemoryStore())
    for _ in range(3):
        with pytest.raises(UnavailableError) as caught:
            cache.get(ACCOUNT)
        assert caught.value.retry_after_s
        assert 0 < caught.value.retry_after_s < 1.5
    assert mint.calls == 1


def test_a_rate_limit_pauses_the_account(redis_client: "redis.Redis") -> None:
    """A 429 of /auth/token pauses all callers for its Retry-After."""
    mint = FakeMint()
    mint.failure = LimitedError("slow down", retry_after_s=30)
    cache = TokenCache(redis_client, mint, MemoryStore())
    with pytest.raises(LimitedError):
        cache.get(ACCOUNT)
    with pytest.raises(UnavailableError) as caught:
        cache.get(ACCOUNT)
    assert caught.value.retry_after_s == pytest.approx(30, abs=2)


def test_an_unexpected_error_ends_its_flight(redis_client: "redis.Redis") -> None:
    """The error is raised unchanged, and the lease is released."""
    mint = FakeMint()
    mint.failure = KeyError("no such account")
    cache = TokenCache(redis_client, mint, MemoryStore())
    with pytest.raises(KeyError):
        cache.get(ACCOUNT)
    assert redis_client.get(keys.token_lease(ACCOUNT)) is None


def test_waiting_ends_at_its_timeout(redis_client: "redis.Redis") -> None:
    """A caller that waits for another flight leaves at its own timeout with UnavailableError."""
    mint = FakeMint()
    mint.go_on.clear()
    caches = [TokenCache(redis_client, mint, MemoryStore()) for _ in range(2)]
    minting = threading.Thread(target=caches[0].get, args=(ACCOUNT,))
    minting.start()
    assert mint.begun.wait(20)

    def wait(cache: TokenCache) -> None:
        with pytest.raises(UnavailableError, match="another worker"):
            cache.get(ACCOUNT, timeout_s=0.3)

    for cache in caches:
        assert shortest_s(partial(wait, cache), 0.6) < 0.6
    mint.go_on.set()
    minting.join()


def test_a_late_answer_does_not_replace_a_later_token(redis_client: "redis.Redis") -> None:
    """A holder that was paused past its lease gets the later token instead of its own."""
    slow, quick = FakeMint(), FakeMint()
    slow.go_on.clear()
    paused = TokenCache(
        redis_client,
        slow,
        MemoryStore(),
        policy=replace(QUICK_POLICY, store_timeout_s=0.05, mint_timeout_s=0.05, lease_margin_s=0),
    )
    found: list[Token] = []
    thread = threading.Thread(target=lambda: found.append(paused.get(ACCOUNT)))
    thread.start()
    assert slow.begun.wait(20)
    later = TokenCache(redis_client, quick, MemoryStore()).get(ACCOUNT)
    slow.go_on.set()
    thread.join()
    assert found[0].generation == later.generation
    assert slow.calls == quick.calls == 1


@pytest.mark.parametrize("operation", [b"request", b"finish"])
def test_a_lost_reply_costs_no_lease(
    redis_server: RedisServer, redis_client: "redis.Redis", operation: bytes
) -> None:
    """The client repeats the command: the election stands, and the token is saved."""
    mint = FakeMint()
    store = MemoryStore()
    with TcpProxy(redis_server.port) as proxy, redis.Redis(port=proxy.port) as client:
        cache = TokenCache(client, mint, store)
        assert client.ping()
        proxy.cut_after(b"\r\n%b\r\n" % operation)
        began = time.monotonic()
        assert token_value(cache.get(ACCOUNT)) == f"{ACCOUNT}-1"
        assert time.monotonic() - began < 2
        assert cache.flush()
    assert proxy.hits == 1
    assert mint.calls == 1
    assert token_value(store.tokens[ACCOUNT]) == f"{ACCOUNT}-1"
    assert redis_client.get(keys.token_lease(ACCOUNT)) is None


def test_without_redis_every_call_raises_unavailable() -> None:
    """Without Redis there is no token, so nothing was sent."""
    with redis.Redis(port=1, retry=Retry(NoBackoff(), 0)) as client:
        cache = TokenCache(client, FakeMint(), MemoryStore())
        for call in (
            cache.get,
            lambda account: cache.install_first_token(
                account, lambda: MintedToken(SecretStr("first"), 900)
            ),
            lambda account: cache.invalidate(account, 1),
        ):
            with pytest.raises(UnavailableError, match="Redis did not answer"):
                call(ACCOUNT)

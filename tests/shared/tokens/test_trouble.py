"""The token cache when the platform, Redis or a worker fails."""

import threading
import time
from dataclasses import replace

import pytest
import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.redis import RedisServer
from shared.errors import InvalidApiKeyError, LimitedError, RefusedError, UnavailableError
from shared.tokens import TokenCache
from shared.tokens.store import MintedToken, Token
from tests.fixtures.tcp_proxy import TcpProxy
from tests.shared.tokens.minting import ACCOUNT, KEY, QUICK, Mint, value
from tests.shared.tokens.stores import MemoryStore


def test_a_refused_key_is_asked_with_once_a_while(redis_client: "redis.Redis") -> None:
    """All are told at once; the platform hears of it again only when the memory has ended."""
    mint = Mint()
    mint.failure = InvalidApiKeyError("refused; use force_recreate")
    caches = [TokenCache(redis_client, mint, MemoryStore(), times=QUICK) for _ in range(2)]
    for cache in caches * 10:
        with pytest.raises(InvalidApiKeyError, match="force_recreate"):
            cache.get(ACCOUNT)
    assert mint.calls == 1
    time.sleep(QUICK.refused_s + 0.05)
    with pytest.raises(InvalidApiKeyError):
        caches[0].get(ACCOUNT)
    assert mint.calls == 2


@pytest.mark.parametrize(
    "failure", [UnavailableError("away"), RefusedError("a proxy says no", status=403)]
)
def test_a_platform_that_cannot_be_asked_is_left_alone(
    redis_client: "redis.Redis", failure: Exception
) -> None:
    """Whatever keeps a token from us never counts as an answer about the message: it is tried again later."""
    mint = Mint()
    mint.failure = failure
    cache = TokenCache(redis_client, mint, MemoryStore())
    for _ in range(3):
        with pytest.raises(UnavailableError) as caught:
            cache.get(ACCOUNT)
        assert caught.value.retry_after_s
        assert 0 < caught.value.retry_after_s < 1.5
    assert mint.calls == 1


def test_a_limit_is_kept_to(redis_client: "redis.Redis") -> None:
    """A 429 from /auth/token holds back everybody for as long as it says."""
    mint = Mint()
    mint.failure = LimitedError("slow down", retry_after_s=30)
    cache = TokenCache(redis_client, mint, MemoryStore())
    with pytest.raises(LimitedError):
        cache.get(ACCOUNT)
    with pytest.raises(UnavailableError) as caught:
        cache.get(ACCOUNT)
    assert caught.value.retry_after_s == pytest.approx(30, abs=2)


def test_a_fault_of_our_own_ends_its_flight(redis_client: "redis.Redis") -> None:
    """An error that nobody foresaw is raised as it is, and does not hold the lease."""
    mint = Mint()
    mint.failure = KeyError("no such account")
    cache = TokenCache(redis_client, mint, MemoryStore())
    with pytest.raises(KeyError):
        cache.get(ACCOUNT)
    assert redis_client.get(f"{KEY}:lease") is None


def test_waiting_ends_in_time(redis_client: "redis.Redis") -> None:
    """Who waits for another's answer gives up after its own time, and is told that nothing was sent."""
    mint = Mint(takes_s=1.5)
    caches = [TokenCache(redis_client, mint, MemoryStore()) for _ in range(2)]
    minting = threading.Thread(target=caches[0].get, args=(ACCOUNT,))
    minting.start()
    time.sleep(0.1)
    for cache in caches:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="another worker"):
            cache.get(ACCOUNT, timeout_s=0.3)
        assert time.monotonic() - began < 0.6
    minting.join()


def test_a_late_answer_does_not_replace_a_younger_token(redis_client: "redis.Redis") -> None:
    """A holder that was paused past its lease gets the younger token, not its own."""
    slow, quick = Mint(takes_s=0.5), Mint()
    paused = TokenCache(
        redis_client,
        slow,
        MemoryStore(),
        times=replace(QUICK, store_s=0.05, mint_s=0.05, spare_s=0),
    )
    found: list[Token] = []
    thread = threading.Thread(target=lambda: found.append(paused.get(ACCOUNT)))
    thread.start()
    time.sleep(0.2)
    younger = TokenCache(redis_client, quick, MemoryStore()).get(ACCOUNT)
    thread.join()
    assert found[0].generation == younger.generation
    assert slow.calls == quick.calls == 1


@pytest.mark.parametrize("operation", [b"get", b"land"])
def test_a_reply_that_is_lost_costs_no_lease(
    redis_server: RedisServer, redis_client: "redis.Redis", operation: bytes
) -> None:
    """The client repeats the command by itself: who was elected still knows it, and what has landed is saved."""
    mint, store = Mint(), MemoryStore()
    with TcpProxy(redis_server.port) as proxy, redis.Redis(port=proxy.port) as client:
        cache = TokenCache(client, mint, store)
        assert client.ping()
        proxy.cut_after(b"\r\n%b\r\n" % operation)
        began = time.monotonic()
        assert value(cache.get(ACCOUNT)) == f"{ACCOUNT}-1"
        assert time.monotonic() - began < 2
        assert cache.flush()
    assert proxy.hits == 1
    assert mint.calls == 1
    assert value(store.tokens[ACCOUNT]) == f"{ACCOUNT}-1"
    assert redis_client.get(f"{KEY}:lease") is None


def test_redis_away_is_told_as_unavailable() -> None:
    """Without Redis there is no token; nothing was sent."""
    with redis.Redis(port=1, retry=Retry(NoBackoff(), 0)) as client:
        cache = TokenCache(client, Mint(), MemoryStore())
        for call in (
            cache.get,
            lambda account: cache.install_first_token(
                account, lambda: MintedToken(SecretStr("first"), 900)
            ),
            lambda account: cache.invalidate(account, 1),
        ):
            with pytest.raises(UnavailableError, match="Redis did not answer"):
                call(ACCOUNT)

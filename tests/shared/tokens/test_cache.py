"""The token cache within one process, on a real Redis."""

import threading
import time

import pytest
import redis
from pydantic import SecretStr

from shared.errors import InvalidApiKeyError, UnavailableError
from shared.tokens import TokenCache
from shared.tokens.store import MintedToken, Token
from tests.shared.tokens.minting import ACCOUNT, KEY, Mint, refreshes_end, together, value
from tests.shared.tokens.stores import MemoryStore


def test_cold_threads_share_one_mint(redis_client: "redis.Redis") -> None:
    """64 threads without a token: one asks, all have its answer."""
    mint = Mint(takes_s=0.1)
    cache = TokenCache(redis_client, mint, MemoryStore())
    found = together(64, lambda: cache.get(ACCOUNT))
    assert len(set(found)) == 1
    assert mint.calls == 1


def test_short_tokens_are_never_served_expired(redis_client: "redis.Redis") -> None:
    """64 threads over many three-second tokens: never two mints at once, nobody holds one that has ended, hits in µs.

    A hit is a call that found its token in this process: who waits for the moment of a refresh is no hit.
    """
    mint = Mint(life_s=3.0, takes_s=0.05)
    caches = [TokenCache(redis_client, mint, MemoryStore()) for _ in range(4)]
    end, hits, others, late = time.monotonic() + 7, list[float](), list[float](), list[float]()

    def work(cache: TokenCache) -> None:
        while time.monotonic() < end:
            is_hit = cache._local.slot(ACCOUNT).usable(time.monotonic() + 0.01, None)  # noqa: SLF001
            began = time.perf_counter()
            token = cache.get(ACCOUNT)
            (hits if is_hit else others).append(time.perf_counter() - began)
            late.append(time.monotonic() - mint.ends[token.value.get_secret_value()])
            time.sleep(0.005)

    turns = iter(caches * 16)
    together(64, lambda: work(next(turns)))
    assert mint.most_at_once == 1
    assert max(late) < 0
    assert 3 <= mint.calls <= 5
    assert len(hits) > 20 * len(others)
    assert sorted(hits)[len(hits) // 2] < 0.000_05
    assert sorted(hits)[int(len(hits) * 0.99)] < 0.000_2


def test_refresh_goes_on_behind_the_valid_token(redis_client: "redis.Redis") -> None:
    """While one refreshes ahead, everybody, who does it included, is served the valid token at once."""
    mint = Mint(life_s=2.0)
    cache = TokenCache(redis_client, mint, MemoryStore())
    first = cache.get(ACCOUNT)
    mint.takes_s = 0.5
    redis_client.hset(KEY, "soft", 1)
    other = TokenCache(redis_client, mint, MemoryStore())
    began = time.monotonic()
    assert {
        value(other.get(ACCOUNT)),
        value(TokenCache(redis_client, mint, MemoryStore()).get(ACCOUNT)),
    } == {value(first)}
    assert time.monotonic() - began < 0.3
    assert [thread.name for thread in threading.enumerate() if "refresh" in thread.name] == [
        f"token-refresh-{ACCOUNT}"
    ]
    refreshes_end()
    assert value(other.get(ACCOUNT)) == f"{ACCOUNT}-2"


def test_a_failed_refresh_leaves_the_valid_token(redis_client: "redis.Redis") -> None:
    """A platform that is away, or that refuses the key, is noticed only when there is no valid token any more."""
    mint = Mint()
    TokenCache(redis_client, mint, MemoryStore()).get(ACCOUNT)
    for failure in (UnavailableError("away"), InvalidApiKeyError("refused")):
        mint.failure = failure
        redis_client.hset(KEY, "soft", 1)
        redis_client.delete(f"{KEY}:pause")
        for _ in range(3):
            assert (
                value(TokenCache(redis_client, mint, MemoryStore()).get(ACCOUNT)) == f"{ACCOUNT}-1"
            )
            refreshes_end()
    assert mint.calls == 3


def test_a_refused_token_is_dropped_only_once(redis_client: "redis.Redis") -> None:
    """50 threads with the same refused token: one more mint, and a late 401 leaves the new one alone."""
    mint = Mint(takes_s=0.05)
    cache = TokenCache(redis_client, mint, MemoryStore())
    old = cache.get(ACCOUNT)

    def refused() -> Token:
        cache.invalidate(ACCOUNT, old.generation)
        return cache.get(ACCOUNT, not_generation=old.generation)

    assert {value(token) for token in together(50, refused) if isinstance(token, Token)} == {
        f"{ACCOUNT}-2"
    }
    assert not cache.invalidate(ACCOUNT, old.generation)
    assert mint.calls == 2


def test_no_text_of_a_token_shows_its_value(
    redis_client: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither repr nor str nor what the cache logs."""
    cache = TokenCache(
        redis_client, lambda _key: MintedToken(SecretStr("very-secret"), 900), MemoryStore()
    )
    token = cache.get(ACCOUNT)
    cache.flush()
    shown = f"{token!r} {token} {MintedToken(SecretStr('very-secret'), 1)!r}"
    assert "very-secret" not in shown + capsys.readouterr().out

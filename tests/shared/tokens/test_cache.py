"""The token cache within a process, on a real Redis."""

import threading
import time

import pytest
import redis
from pydantic import SecretStr

from shared.errors import InvalidApiKeyError, UnavailableError
from shared.redis import keys
from shared.tokens import TokenCache
from shared.tokens.store import MintedToken, Token
from tests.fixtures.waiting import shortest_s
from tests.shared.tokens.minting import (
    ACCOUNT,
    KEY,
    FakeMint,
    join_refreshes,
    run_together,
    token_value,
)
from tests.shared.tokens.stores import MemoryStore


def test_cold_threads_share_one_mint(redis_client: "redis.Redis") -> None:
    """64 threads without a token cause a single mint."""
    mint = FakeMint(takes_s=0.1)
    cache = TokenCache(redis_client, mint, MemoryStore())
    found = run_together(64, lambda: cache.get(ACCOUNT))
    assert len(set(found)) == 1
    assert mint.calls == 1


def test_short_tokens_are_never_served_expired(redis_client: "redis.Redis") -> None:
    """64 threads use tokens that are valid for 3 s: no parallel mints, no expired token, fast hits.

    A hit is a call that finds its token in this process; a wait for a refresh is not a hit.
    """
    mint = FakeMint(lifetime_s=3.0, takes_s=0.05)
    caches = [TokenCache(redis_client, mint, MemoryStore()) for _ in range(4)]
    end = time.monotonic() + 7
    hits = list[float]()
    hits_cpu = list[float]()
    misses = list[float]()
    expired_for = list[float]()

    def work(cache: TokenCache) -> None:
        entry = cache._memory.entry(ACCOUNT)  # noqa: SLF001 - tells hits from misses
        while time.monotonic() < end:
            is_hit = entry.find_usable(time.monotonic() + 0.01, None)
            began, used = time.perf_counter(), time.thread_time()
            token = cache.get(ACCOUNT)
            used = time.thread_time() - used
            (hits if is_hit else misses).append(time.perf_counter() - began)
            hits_cpu.extend([used] if is_hit else [])
            expired_for.append(time.monotonic() - mint.ends[token.value.get_secret_value()])
            time.sleep(0.005)

    turns = iter(caches * 16)
    run_together(64, lambda: work(next(turns)))
    assert mint.max_concurrent == 1
    assert max(expired_for) < 0
    assert 3 <= mint.calls <= 5
    assert len(hits) > 20 * len(misses)
    assert sorted(hits)[len(hits) // 2] < 0.000_05
    # Threads of a busy machine stand still in the middle of a call: what a call takes counts.
    assert sorted(hits_cpu)[int(len(hits) * 0.99)] < 0.000_2


def test_a_refresh_runs_in_the_background(redis_client: "redis.Redis") -> None:
    """During a refresh all callers, also the elected caller, get the valid token at once."""
    mint = FakeMint()
    cache = TokenCache(redis_client, mint, MemoryStore())
    first = cache.get(ACCOUNT)
    mint.go_on.clear()
    redis_client.hset(KEY, "refresh_at", 1)
    other = TokenCache(redis_client, mint, MemoryStore())

    def get() -> None:
        for each in (other, TokenCache(redis_client, mint, MemoryStore())):
            assert token_value(each.get(ACCOUNT)) == token_value(first)

    assert shortest_s(get, 0.3) < 0.3
    assert [thread.name for thread in threading.enumerate() if "refresh" in thread.name] == [
        f"token-refresh-{ACCOUNT}"
    ]
    mint.go_on.set()
    join_refreshes()
    assert token_value(other.get(ACCOUNT)) == f"{ACCOUNT}-2"


def test_a_failed_refresh_does_not_affect_the_valid_token(redis_client: "redis.Redis") -> None:
    """An outage or a refused key matters only once the valid token has ended."""
    mint = FakeMint()
    TokenCache(redis_client, mint, MemoryStore()).get(ACCOUNT)
    for failure in (UnavailableError("away"), InvalidApiKeyError("refused")):
        mint.failure = failure
        redis_client.hset(KEY, "refresh_at", 1)
        redis_client.delete(keys.token_pause(ACCOUNT))
        for _ in range(3):
            assert (
                token_value(TokenCache(redis_client, mint, MemoryStore()).get(ACCOUNT))
                == f"{ACCOUNT}-1"
            )
            join_refreshes()
    assert mint.calls == 3


def test_a_rejected_token_is_dropped_once(redis_client: "redis.Redis") -> None:
    """50 threads with a rejected token cause a single mint; a late 401 keeps the new token."""
    mint = FakeMint(takes_s=0.05)
    cache = TokenCache(redis_client, mint, MemoryStore())
    old = cache.get(ACCOUNT)

    def replace_token() -> Token:
        cache.invalidate(ACCOUNT, old.generation)
        return cache.get(ACCOUNT, not_generation=old.generation)

    assert {
        token_value(token) for token in run_together(50, replace_token) if isinstance(token, Token)
    } == {f"{ACCOUNT}-2"}
    assert not cache.invalidate(ACCOUNT, old.generation)
    assert mint.calls == 2


def test_repr_and_logs_hide_the_token(
    redis_client: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    """The repr and str of a token and the logs of the cache hide its value."""
    cache = TokenCache(
        redis_client, lambda _key: MintedToken(SecretStr("very-secret"), 900), MemoryStore()
    )
    token = cache.get(ACCOUNT)
    cache.flush()
    shown = f"{token!r} {token} {MintedToken(SecretStr('very-secret'), 1)!r}"
    assert "very-secret" not in shown + capsys.readouterr().out

"""The token cache within one process, on a real Redis."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.redis import RedisServer
from shared.deadline import remaining, within
from shared.errors import DatabaseUnavailableError, InvalidApiKeyError, LimitedError, RefusedError, UnavailableError
from shared.tokens import TokenAuth, TokenCache
from shared.tokens.store import Kept, Minted, Token
from shared.tokens.times import MINT_S, STORE_S, Times
from tests.proxy import Proxy
from tests.shared.tokens.stores import MemoryStore

ACCOUNT = "0000000000042"
KEY = f"wpp:token:{{{ACCOUNT}}}"
QUICK = Times(store_s=0.5, mint_s=1, spare_s=0.5, pause_s=0.1, refused_s=0.3)


class Mint:
    """The platform: hands out tokens that live `life_s`, and keeps book of its calls."""

    def __init__(self, life_s: float = 900, takes_s: float = 0.0) -> None:
        self.life_s, self.takes_s = life_s, takes_s
        self.calls = 0
        self.most_at_once = 0
        self.ends: dict[str, float] = {}
        self.failure: Exception | None = None
        self._at_once = 0
        self._lock = threading.Lock()

    def __call__(self, api_key: SecretStr) -> Minted:
        with self._lock:
            self.calls += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            value = f"{api_key.get_secret_value()}-{self.calls}"
        time.sleep(self.takes_s)
        with self._lock:
            self._at_once -= 1
            self.ends[value] = time.monotonic() + self.life_s
        if self.failure:
            raise self.failure
        return Minted(SecretStr(value), self.life_s)


def stored(value: str, left_s: float) -> tuple[str, Token]:
    return ACCOUNT, Token(SecretStr(value), 0, datetime.now(UTC) + timedelta(seconds=left_s))


def value(token: Token | None) -> str | None:
    return token.value.get_secret_value() if token else None


def together(count: int, work: Callable[[], object]) -> list[object]:
    """Run `work` in `count` threads that begin at once; return what each gave, or raised."""
    barrier, found = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 - it is the finding
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def refreshes_end() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("token-"):
            thread.join()


def test_layers_nearest_first(redis_client: "redis.Redis") -> None:
    """This process, Redis, the store, the platform: each is asked only when the nearer ones have nothing."""
    mint, store = Mint(), MemoryStore()
    first = TokenCache(redis_client, mint, store)
    token = first.get(ACCOUNT)
    assert first.flush()
    assert value(store.tokens[ACCOUNT]) == value(token), "a refresh reaches every layer"
    redis_client.flushall()
    assert first.get(ACCOUNT) is token, "this process"
    assert value(TokenCache(redis_client, mint, store).get(ACCOUNT)) == value(token), "the store"
    store.tokens.clear()
    assert value(TokenCache(redis_client, mint, store).get(ACCOUNT)) == value(token), "Redis"
    assert mint.calls == 1


@pytest.mark.parametrize("left_s", [-5, 30, 59])
def test_a_stored_token_that_no_longer_counts_is_left(redis_client: "redis.Redis", left_s: float) -> None:
    """A token counts while it has more than 60 s left."""
    cache = TokenCache(redis_client, Mint(), MemoryStore(stored("old", left_s)))
    assert value(cache.get(ACCOUNT)) == f"{ACCOUNT}-1"
    assert cache.flush()


def test_a_stored_token_that_was_refused_is_not_taken_again(redis_client: "redis.Redis") -> None:
    """After a 401 with the token from the store, the platform is asked for another one."""
    mint = Mint()
    cache = TokenCache(redis_client, mint, MemoryStore(stored("revoked", 600)))
    refused = cache.get(ACCOUNT)
    assert value(refused) == "revoked"
    assert cache.invalidate(ACCOUNT, refused.generation)
    assert value(cache.get(ACCOUNT, not_generation=refused.generation)) == f"{ACCOUNT}-1"
    assert cache.flush()


def test_a_store_that_is_away_has_no_key_either(redis_client: "redis.Redis") -> None:
    """Without a key nobody is asked: nothing was sent, and the store is left alone for a moment."""
    mint, store = Mint(), MemoryStore()
    store.failure = DatabaseUnavailableError("away")
    cache = TokenCache(redis_client, mint, store)
    for _ in range(3):
        with pytest.raises(UnavailableError) as caught:
            cache.get(ACCOUNT)
        assert caught.value.retry_after_s
    assert (mint.calls, store.loads) == (0, 1)


def test_a_store_that_takes_nothing_costs_nothing_but_its_layer(redis_client: "redis.Redis") -> None:
    """A token that cannot be saved is used all the same."""

    class ReadOnly(MemoryStore):
        def save(self, account: str, token: Token) -> None:
            msg = f"{account} {token.generation}"
            raise DatabaseUnavailableError(msg)

    cache = TokenCache(redis_client, Mint(), ReadOnly())
    assert value(cache.get(ACCOUNT)) == f"{ACCOUNT}-1"
    assert cache.flush()


def test_a_flight_reads_the_store_once(redis_client: "redis.Redis") -> None:
    """The stored token and the key are of the same row, cold as well as for a refresh."""
    mint, store = Mint(), MemoryStore()
    cache = TokenCache(redis_client, mint, store)
    cache.get(ACCOUNT)
    assert (mint.calls, store.loads) == (1, 1)
    redis_client.hset(KEY, "soft", 1)
    TokenCache(redis_client, mint, store).get(ACCOUNT)
    refreshes_end()
    assert (mint.calls, store.loads) == (2, 2)


def test_a_flight_s_parts_know_how_long_they_have(redis_client: "redis.Redis") -> None:
    """Together they end before the lease, also where the call around them has more time; and with it, where less."""
    left: list[float] = []

    class Slow(MemoryStore):
        def load(self, account: str) -> Kept:
            left.append(remaining())
            return super().load(account)

    def mint(_api_key: SecretStr) -> Minted:
        left.append(remaining())
        return Minted(SecretStr("token"), 900)

    for whole_s, expected in ((60.0, [STORE_S, MINT_S]), (1.5, [1.5, 1.5])):
        left.clear()
        redis_client.flushall()
        with within(whole_s):
            TokenCache(redis_client, mint, Slow()).get(ACCOUNT)
        assert left == pytest.approx(expected, abs=0.2)
    assert Times().lease_s >= STORE_S + MINT_S + 1


def test_an_account_without_a_key_is_told_the_way_out(redis_client: "redis.Redis") -> None:
    mint, store = Mint(), MemoryStore()
    store.keys[ACCOUNT] = None
    with pytest.raises(InvalidApiKeyError, match="force_recreate"):
        TokenCache(redis_client, mint, store).get(ACCOUNT)
    assert mint.calls == 0


@pytest.mark.parametrize("spoilt", ["", "two words", "line\nbreak", "ключ", "\x7f"])
def test_a_stored_token_that_cannot_be_sent_is_left(redis_client: "redis.Redis", spoilt: str) -> None:
    """It would break the call, and nobody could tell whether the message had left."""
    cache = TokenCache(redis_client, Mint(), MemoryStore(stored(spoilt, 600)))
    assert value(cache.get(ACCOUNT)) == f"{ACCOUNT}-1"
    assert cache.flush()


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
            found = cache._slots.get(ACCOUNT)  # noqa: SLF001 - what tells a hit
            is_hit = found is not None and found.usable(time.monotonic() + 0.01, None)
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
    assert {value(other.get(ACCOUNT)), value(TokenCache(redis_client, mint, MemoryStore()).get(ACCOUNT))} == {
        value(first)
    }
    assert time.monotonic() - began < 0.3
    assert [thread.name for thread in threading.enumerate() if "refresh" in thread.name] == [f"token-refresh-{ACCOUNT}"]
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
            assert value(TokenCache(redis_client, mint, MemoryStore()).get(ACCOUNT)) == f"{ACCOUNT}-1"
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

    assert {value(token) for token in together(50, refused) if isinstance(token, Token)} == {f"{ACCOUNT}-2"}
    assert not cache.invalidate(ACCOUNT, old.generation)
    assert mint.calls == 2


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


def test_an_adopted_token_needs_no_mint(redis_client: "redis.Redis") -> None:
    """The first token of a repaired key is published at once, over an older one and a refusal of the old key."""
    mint, store = Mint(), MemoryStore()
    mint.failure = InvalidApiKeyError("refused")
    cache = TokenCache(redis_client, mint, store)
    with pytest.raises(InvalidApiKeyError):
        cache.get(ACCOUNT)
    assert cache.is_refused(ACCOUNT)
    cache.adopt(ACCOUNT, lambda: Minted(SecretStr("first"), 900))
    assert not cache.is_refused(ACCOUNT)
    assert value(cache.get(ACCOUNT)) == value(TokenCache(redis_client, mint, store).get(ACCOUNT)) == "first"
    assert cache.flush()
    assert value(store.tokens[ACCOUNT]) == "first"
    assert mint.calls == 1


def test_an_adopted_token_that_comes_late_leaves_a_younger_one(redis_client: "redis.Redis") -> None:
    """Its place is where its question was asked, not where the answer came in."""
    cache, store = TokenCache(redis_client, Mint(), MemoryStore()), MemoryStore()

    def slow() -> Minted:
        redis_client.delete(f"{KEY}:lease")  # it took too long, and somebody else was elected
        cache.get(ACCOUNT)
        return Minted(SecretStr("older"), 900)

    other = TokenCache(redis_client, Mint(), store)
    other.adopt(ACCOUNT, slow)
    assert value(other.get(ACCOUNT)) == f"{ACCOUNT}-1"
    assert cache.flush()
    assert other.flush()
    assert store.tokens == {}


def test_nobody_asks_with_a_new_key_while_its_first_token_is_got(redis_client: "redis.Redis") -> None:
    """A new key may be refused at first: others wait for who knows that, and are not told `refused` meanwhile."""
    mint = Mint()
    mint.failure = InvalidApiKeyError("too new")
    cache, found = TokenCache(redis_client, mint, MemoryStore()), list[object]()
    waiting = threading.Thread(target=lambda: found.extend(together(4, lambda: value(cache.get(ACCOUNT)))))

    def first() -> Minted:
        waiting.start()
        time.sleep(0.2)
        return Minted(SecretStr("first"), 900)

    TokenCache(redis_client, mint, MemoryStore()).adopt(ACCOUNT, first)
    waiting.join()
    assert found == ["first"] * 4
    assert mint.calls == 0


def test_a_first_token_that_does_not_come_ends_its_flight(redis_client: "redis.Redis") -> None:
    """What kept it away is raised as it is, and nobody waits for it any longer."""

    def refused() -> Minted:
        msg = "a proxy says no"
        raise RefusedError(msg, status=403)

    with pytest.raises(RefusedError, match="a proxy says no"):
        TokenCache(redis_client, Mint(), MemoryStore()).adopt(ACCOUNT, refused)
    assert redis_client.get(f"{KEY}:lease") is None


@pytest.mark.parametrize("failure", [UnavailableError("away"), RefusedError("a proxy says no", status=403)])
def test_a_platform_that_cannot_be_asked_is_left_alone(redis_client: "redis.Redis", failure: Exception) -> None:
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
    paused = TokenCache(redis_client, slow, MemoryStore(), times=replace(QUICK, store_s=0.05, mint_s=0.05, spare_s=0))
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
    with Proxy(redis_server.port) as proxy, redis.Redis(port=proxy.port) as client:
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
            lambda account: cache.adopt(account, lambda: Minted(SecretStr("first"), 900)),
            lambda account: cache.invalidate(account, 1),
        ):
            with pytest.raises(UnavailableError, match="Redis did not answer"):
                call(ACCOUNT)


class Door:
    """An API that takes some tokens and notes what it was shown."""

    def __init__(self, *good: str) -> None:
        self.good = good
        self.seen: list[tuple[str, bytes]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((request.headers["authorization"], request.read()))
        token = request.headers["authorization"].removeprefix("Bearer ")
        return httpx.Response(200 if token in self.good else 401)


def test_auth_repeats_a_refused_call_once_with_another_token(redis_client: "redis.Redis") -> None:
    """401: the token is dropped, and the whole call is made again with a new one."""
    cache, door = TokenCache(redis_client, Mint(), MemoryStore()), Door(f"{ACCOUNT}-2")
    with httpx.Client(transport=httpx.MockTransport(door), auth=TokenAuth(cache, ACCOUNT)) as client:
        assert client.post("http://platform.test/", json={"to": "1"}).status_code == 200
        assert client.post("http://platform.test/", json={"to": "1"}).status_code == 200
    assert [token for token, _ in door.seen] == [f"Bearer {ACCOUNT}-{number}" for number in (1, 2, 2)]
    assert {body for _, body in door.seen} == {b'{"to":"1"}'}


def test_auth_never_loops(redis_client: "redis.Redis") -> None:
    """A platform that takes no token at all is asked twice, its 401 is handed on, and nobody asks for some seconds."""
    mint = Mint()
    door = Door()
    auth = TokenAuth(TokenCache(redis_client, mint, MemoryStore()), ACCOUNT)
    with httpx.Client(transport=httpx.MockTransport(door), auth=auth) as client:
        assert client.get("http://platform.test/").status_code == 401
        with pytest.raises(UnavailableError) as caught:
            client.get("http://platform.test/")
    assert caught.value.retry_after_s == pytest.approx(5, abs=0.5)
    assert len(door.seen) == 2
    assert mint.calls == 2


@pytest.mark.parametrize("fault", [AttributeError("'NoneType' object"), KeyError("wppApiKey"), ValueError("no time")])
def test_a_fault_of_our_own_over_a_token_is_told_as_not_sent(redis_client: "redis.Redis", fault: Exception) -> None:
    """Only what happens to the call itself may leave open whether it arrived."""
    store, door = MemoryStore(), Door()
    store.failure = fault
    auth = TokenAuth(TokenCache(redis_client, Mint(), store), ACCOUNT)
    with httpx.Client(transport=httpx.MockTransport(door), auth=auth) as client:
        for _ in range(2):
            with pytest.raises(UnavailableError):
                client.get("http://platform.test/")
    assert door.seen == []
    assert store.loads == 1, "the account is left alone for a moment"


def test_a_401_that_cannot_be_noted_is_told_as_not_sent(redis_client: "redis.Redis") -> None:
    """Redis goes away between the call and its answer: the platform has refused it all the same."""
    with redis.Redis(port=1, retry=Retry(NoBackoff(), 0)) as away:
        cache = TokenCache(redis_client, Mint(), MemoryStore())
        auth = TokenAuth(cache, ACCOUNT)
        cache.get(ACCOUNT)
        cache._flights._script.registered_client = away  # noqa: SLF001 - its Redis is away from now on
        with httpx.Client(transport=httpx.MockTransport(Door()), auth=auth) as client, pytest.raises(UnavailableError):
            client.get("http://platform.test/")


def test_auth_keeps_to_the_deadline_of_its_call(redis_client: "redis.Redis") -> None:
    """A call without time for a token fails before anything is sent."""
    door = Door()
    auth = TokenAuth(TokenCache(redis_client, Mint(), MemoryStore()), ACCOUNT)
    with httpx.Client(transport=httpx.MockTransport(door), auth=auth) as client:  # noqa: SIM117 - the call is what fails
        with within(0.5), pytest.raises(UnavailableError):
            client.get("http://platform.test/")
    assert door.seen == []


def test_no_text_of_a_token_shows_its_value(redis_client: "redis.Redis", capsys: pytest.CaptureFixture[str]) -> None:
    """Neither repr nor str nor what the cache logs."""
    cache = TokenCache(redis_client, lambda _key: Minted(SecretStr("very-secret"), 900), MemoryStore())
    token = cache.get(ACCOUNT)
    cache.flush()
    shown = f"{token!r} {token} {Minted(SecretStr('very-secret'), 1)!r}"
    assert "very-secret" not in shown + capsys.readouterr().out

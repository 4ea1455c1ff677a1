"""The circuit breaker, on a real Redis; its times are skipped by moving them there."""

import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import UnavailableError
from shared.platform.circuit_breaker import BreakerState, CircuitBreaker

URL = "https://user:secret@platform.test:8443/base"
KEY = "wpp:breaker:{platform.test:8443}"
TOLD = 1.0


class Clock:
    """The processes' own clock: it goes on by what a state is remembered for, so that each look is a fresh one."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += TOLD


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(redis_client: "redis.Redis", clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(redis_client, URL, clock)


def opened(redis_client: "redis.Redis", clock: Clock) -> CircuitBreaker:
    """Return a breaker that 5 lost connects have opened."""
    breaker = CircuitBreaker(redis_client, URL, clock)
    for _ in range(5):
        breaker.record(ok=False, reached=False)
    return breaker


def rest_ends(redis_client: "redis.Redis", clock: Clock) -> None:
    """Let the time end for which the breaker stays open."""
    redis_client.hset(KEY, "until", int(time.time() * 1000) - 1)
    clock.tick()


def test_half_of_twenty_failures_open_it(breaker: CircuitBreaker, clock: Clock) -> None:
    """10 of 20, and not 9 of 20, nor 10 of 19."""
    for _ in range(10):
        breaker.record(ok=True)
    for _ in range(9):
        breaker.record(ok=False)
    assert breaker.state().name == "closed"
    breaker.record(ok=False)
    found = breaker.state()
    assert found.name == "open"
    assert 4 <= found.retry_after_s <= 6
    clock.tick()
    assert breaker.state().name == "open"


def test_five_lost_connects_in_a_row_open_it(breaker: CircuitBreaker) -> None:
    """A success in between, or a failure that did reach the platform, begins the row anew."""
    for _ in range(4):
        breaker.record(ok=False, reached=False)
    breaker.record(ok=True)
    for _ in range(4):
        breaker.record(ok=False, reached=False)
    breaker.record(ok=False)
    for _ in range(4):
        breaker.record(ok=False, reached=False)
    assert breaker.state().name == "closed"
    breaker.record(ok=False, reached=False)
    assert breaker.state().name == "open"


def test_old_failures_are_forgotten(breaker: CircuitBreaker, redis_client: "redis.Redis") -> None:
    """Only the last 5 to 10 s count."""
    for _ in range(15):
        breaker.record(ok=False)
    redis_client.hincrby(KEY, "slot", -2)
    for _ in range(15):
        breaker.record(ok=False)
    assert breaker.state().name == "closed"


def test_every_process_sees_it(redis_client: "redis.Redis", clock: Clock) -> None:
    opened(redis_client, clock)
    assert CircuitBreaker(redis_client, URL, clock).state().name == "open"
    assert CircuitBreaker(redis_client, "https://other.test", clock).state().name == "closed"


def test_while_open_no_call_goes_through(redis_client: "redis.Redis", clock: Clock) -> None:
    """Callers are told how long to wait, before anything is sent."""
    with pytest.raises(UnavailableError) as caught, opened(redis_client, clock).call():
        pytest.fail("it was let through")
    assert caught.value.retry_after_s
    assert 3 < caught.value.retry_after_s <= 6


def test_one_probe_closes_it(redis_client: "redis.Redis", clock: Clock) -> None:
    """After its time one call is let through, and no other until that one has its answer."""
    breaker, other = opened(redis_client, clock), CircuitBreaker(redis_client, URL, clock)
    rest_ends(redis_client, clock)
    assert breaker.state() == other.state() == BreakerState("probe")
    with breaker.call() as call:
        clock.tick()
        with pytest.raises(UnavailableError), other.call():
            pytest.fail("there were two probes")
        call.succeeded()
    clock.tick()
    assert breaker.state() == other.state() == BreakerState("closed")


def test_a_failed_probe_opens_it_for_longer(redis_client: "redis.Redis", clock: Clock) -> None:
    """5 s, 10 s, 20 s, up to a minute, each within a fifth."""
    breaker, rests = opened(redis_client, clock), []
    for _ in range(6):
        rests.append(breaker.state().retry_after_s)
        rest_ends(redis_client, clock)
        with breaker.call() as call:
            call.failed()
    for rest, expected in zip(rests, [5, 10, 20, 40, 60, 60], strict=True):
        assert expected * 0.79 <= rest <= expected * 1.21


def test_calm_makes_the_next_opening_short_again(redis_client: "redis.Redis", clock: Clock) -> None:
    """A minute after it was closed the series begins anew; before, it goes on."""
    for calm_s, expected in ((59, 10), (61, 5)):
        redis_client.delete(KEY)
        breaker = opened(redis_client, clock)
        rest_ends(redis_client, clock)
        with breaker.call() as call:
            call.succeeded()
        redis_client.hset(KEY, "closed_at", int((time.time() - calm_s) * 1000))
        for _ in range(5):
            breaker.record(ok=False, reached=False)
        assert expected * 0.79 <= breaker.state().retry_after_s <= expected * 1.21


def test_a_probe_that_learned_nothing_lets_the_next_one_go(
    redis_client: "redis.Redis", clock: Clock
) -> None:
    """Neither success nor failure (its own pool was full, say): another call may try at once."""
    breaker = opened(redis_client, clock)
    rest_ends(redis_client, clock)
    with breaker.call():
        pass
    clock.tick()
    assert breaker.state().name == "probe"


def test_a_probe_that_died_is_replaced(redis_client: "redis.Redis", clock: Clock) -> None:
    """Its lease ends."""
    breaker = opened(redis_client, clock)
    rest_ends(redis_client, clock)
    redis_client.set(f"{KEY}:probe", "who was killed", px=20)
    assert breaker.state().name == "open"
    time.sleep(0.03)
    clock.tick()
    assert breaker.state().name == "probe"


def test_late_answers_do_not_touch_an_open_breaker(
    redis_client: "redis.Redis", clock: Clock
) -> None:
    """What was under way when it opened neither closes it nor keeps it open for longer."""
    breaker = opened(redis_client, clock)
    before = redis_client.hget(KEY, "until")
    for _ in range(30):
        breaker.record(ok=False, reached=False)
    breaker.record(ok=True)
    clock.tick()
    assert breaker.state().name == "open"
    assert redis_client.hget(KEY, "until") == before


def test_a_healthy_platform_costs_a_round_trip_a_second(redis_client: "redis.Redis") -> None:
    """1,000 calls at once: one question for the state, and nothing told until a second has passed."""
    breaker = CircuitBreaker(redis_client, URL)
    before = redis_client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
    for _ in range(1000):
        with breaker.call() as call:
            call.succeeded()
    after = redis_client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert after - before <= 3
    time.sleep(TOLD)
    breaker.state()
    assert redis_client.hget(KEY, "ok") == b"1000"


def test_without_redis_calls_go_through() -> None:
    """A breaker is a courtesy: it must not be one more thing that can stop a message."""
    with redis.Redis(port=1, retry=Retry(NoBackoff(), 0)) as client:
        breaker = CircuitBreaker(client, URL)
        for _ in range(10):
            with breaker.call() as call:
                call.failed(reached=False)
        assert breaker.state() == BreakerState("closed")

"""The circuit breaker on a real Redis; tests skip time by moving the stored times."""

import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import UnavailableError
from shared.platform.circuit_breaker import REPORT_INTERVAL_S, BreakerState, CircuitBreaker
from shared.redis import keys

URL = "https://user:secret@platform.test:8443/base"
KEY = keys.circuit_breaker("platform.test:8443")


class Clock:
    """The clock of a process; a tick ends the time for which a state is cached."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += REPORT_INTERVAL_S


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(redis_client: "redis.Redis", clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(redis_client, URL, clock)


def open_breaker(redis_client: "redis.Redis", clock: Clock) -> CircuitBreaker:
    """Return a breaker that five lost connects have opened."""
    breaker = CircuitBreaker(redis_client, URL, clock)
    for _ in range(5):
        breaker.record(ok=False, reached=False)
    return breaker


def end_open_time(redis_client: "redis.Redis", clock: Clock) -> None:
    """End the time for which the breaker stays open."""
    redis_client.hset(KEY, "open_until", int(time.time() * 1000) - 1)
    clock.tick()


def test_half_of_twenty_failures_open_it(breaker: CircuitBreaker, clock: Clock) -> None:
    """10 of 20 open the breaker; 9 of 19 do not."""
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
    """A success, or a failure that reached the platform, starts a new row."""
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
    redis_client.hincrby(KEY, "window", -2)
    for _ in range(15):
        breaker.record(ok=False)
    assert breaker.state().name == "closed"


def test_all_processes_share_the_state(redis_client: "redis.Redis", clock: Clock) -> None:
    open_breaker(redis_client, clock)
    assert CircuitBreaker(redis_client, URL, clock).state().name == "open"
    assert CircuitBreaker(redis_client, "https://other.test", clock).state().name == "closed"


def test_while_open_no_call_goes_through(redis_client: "redis.Redis", clock: Clock) -> None:
    """Callers learn how long to wait, and nothing is sent."""
    with pytest.raises(UnavailableError) as caught, open_breaker(redis_client, clock).call():
        pytest.fail("the call went through")
    assert caught.value.retry_after_s
    assert 3 < caught.value.retry_after_s <= 6


def test_one_probe_closes_it(redis_client: "redis.Redis", clock: Clock) -> None:
    """After the open time a call goes through, and no second call before its result."""
    breaker = open_breaker(redis_client, clock)
    other = CircuitBreaker(redis_client, URL, clock)
    end_open_time(redis_client, clock)
    assert breaker.state() == other.state() == BreakerState("probe")
    with breaker.call() as call:
        clock.tick()
        with pytest.raises(UnavailableError), other.call():
            pytest.fail("there were two probes")
        call.succeeded()
    clock.tick()
    assert breaker.state() == other.state() == BreakerState("closed")


def test_a_failed_probe_opens_it_for_longer(redis_client: "redis.Redis", clock: Clock) -> None:
    """5 s, 10 s, 20 s, up to a minute, each within 20 %."""
    breaker = open_breaker(redis_client, clock)
    durations = []
    for _ in range(6):
        durations.append(breaker.state().retry_after_s)
        end_open_time(redis_client, clock)
        with breaker.call() as call:
            call.failed()
    for duration, expected in zip(durations, [5, 10, 20, 40, 60, 60], strict=True):
        assert expected * 0.79 <= duration <= expected * 1.21


def test_calm_makes_the_next_opening_short_again(redis_client: "redis.Redis", clock: Clock) -> None:
    """The series restarts a minute after the breaker closed, and continues before that."""
    for calm_s, expected in ((59, 10), (61, 5)):
        redis_client.delete(KEY)
        breaker = open_breaker(redis_client, clock)
        end_open_time(redis_client, clock)
        with breaker.call() as call:
            call.succeeded()
        redis_client.hset(KEY, "closed_at", int((time.time() - calm_s) * 1000))
        for _ in range(5):
            breaker.record(ok=False, reached=False)
        assert expected * 0.79 <= breaker.state().retry_after_s <= expected * 1.21


def test_a_probe_without_a_result_frees_the_next_one(
    redis_client: "redis.Redis", clock: Clock
) -> None:
    """For example when its own connection pool was full: the next call may probe at once."""
    breaker = open_breaker(redis_client, clock)
    end_open_time(redis_client, clock)
    with breaker.call():
        pass
    clock.tick()
    assert breaker.state().name == "probe"


def test_a_killed_probe_is_replaced(redis_client: "redis.Redis", clock: Clock) -> None:
    """The lease of the probe ends."""
    breaker = open_breaker(redis_client, clock)
    end_open_time(redis_client, clock)
    redis_client.set(f"{KEY}:probe", "killed process", px=20)
    assert breaker.state().name == "open"
    time.sleep(0.03)
    clock.tick()
    assert breaker.state().name == "probe"


def test_late_results_do_not_change_an_open_breaker(
    redis_client: "redis.Redis", clock: Clock
) -> None:
    """Results of calls from before the opening neither close the breaker nor extend its time."""
    breaker = open_breaker(redis_client, clock)
    before = redis_client.hget(KEY, "open_until")
    for _ in range(30):
        breaker.record(ok=False, reached=False)
    breaker.record(ok=True)
    clock.tick()
    assert breaker.state().name == "open"
    assert redis_client.hget(KEY, "open_until") == before


def test_a_healthy_platform_costs_a_round_trip_a_second(redis_client: "redis.Redis") -> None:
    """1,000 calls at once: a single read of the state, and no report within a second."""
    breaker = CircuitBreaker(redis_client, URL)
    before = redis_client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
    for _ in range(1000):
        with breaker.call() as call:
            call.succeeded()
    after = redis_client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert after - before <= 3
    time.sleep(REPORT_INTERVAL_S)
    breaker.state()
    assert redis_client.hget(KEY, "successes") == b"1000"


def test_without_redis_calls_go_through() -> None:
    """An outage of Redis must not stop a send here."""
    with redis.Redis(port=1, retry=Retry(NoBackoff(), 0)) as client:
        breaker = CircuitBreaker(client, URL)
        for _ in range(10):
            with breaker.call() as call:
                call.failed(reached=False)
        assert breaker.state() == BreakerState("closed")

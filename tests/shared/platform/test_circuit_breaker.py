"""The circuit breakers on a real Redis; tests skip time by moving the stored times."""

import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from structlog.testing import capture_logs

from shared.errors import UnavailableError
from shared.platform.circuit_breaker import REPORT_INTERVAL_S, BreakerState, CircuitBreaker
from shared.redis import keys

URL = "https://user:secret@platform.test:8443/base"
HOST = "platform.test:8443"
KEY = keys.circuit_breaker(HOST)
ACCOUNT = "0000000000042"
ACCOUNT_KEY = keys.account_breaker(HOST, ACCOUNT)


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
    """Return a platform's breaker that five lost connects have opened."""
    breaker = CircuitBreaker(redis_client, URL, clock)
    for _ in range(5):
        breaker.record(ok=False, reached=False)
    return breaker


def fail(breaker: CircuitBreaker, *accounts: str, calls: int = 20) -> None:
    for _ in range(calls):
        for account in accounts:
            breaker.record(ok=False, account=account)


def end_open_time(redis_client: "redis.Redis", clock: Clock, key: str = KEY) -> None:
    """End the time for which the breaker stays open."""
    redis_client.hset(key, "open_until", int(time.time() * 1000) - 1)
    clock.tick()


def probe(breaker: CircuitBreaker, account: str | None = None, *, ok: bool = True) -> None:
    """Make a call that succeeds or fails."""
    with breaker.call(account) as call:
        if ok:
            call.succeeded()
        else:
            call.failed()


def test_half_of_twenty_failures_open_the_breaker_of_an_account(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """10 of 20 open the breaker; 9 of 19 do not."""
    for _ in range(10):
        breaker.record(ok=True, account=ACCOUNT)
    fail(breaker, ACCOUNT, calls=9)
    assert breaker.state(ACCOUNT).name == "closed"
    breaker.record(ok=False, account=ACCOUNT)
    found = breaker.state(ACCOUNT)
    assert (found.name, found.scope) == ("open", "account")
    assert 4 <= found.retry_after_s <= 6
    clock.tick()
    assert breaker.state(ACCOUNT).name == "open"


def test_an_account_that_fails_alone_stops_no_other_account(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """Neither beside a working account, nor while no other account is called."""
    fail(breaker, ACCOUNT, calls=200)
    assert breaker.state() == breaker.state("other") == BreakerState("closed")
    breaker.record(ok=True, account="other")
    fail(breaker, ACCOUNT, "second", calls=200)
    clock.tick()
    assert breaker.state("other").name == "closed"
    assert breaker.state("second").name == "open"
    probe(breaker, "other")


@pytest.mark.parametrize(("working", "expected"), [(0, "open"), (1, "closed"), (2, "closed")])
def test_the_breaker_of_the_platform_opens_when_three_accounts_fail(
    breaker: CircuitBreaker, clock: Clock, working: int, expected: str
) -> None:
    """Four fifths of the accounts that were called lately have to fail."""
    for number in range(working):
        for _ in range(100):
            breaker.record(ok=True, account=f"works {number}")
    clock.tick()
    breaker.state()
    fail(breaker, "1", "2", "3", calls=7)
    assert breaker.state().name == expected
    assert breaker.state("never called").name == expected


def test_one_working_account_of_five_does_not_hold_the_platform_closed(
    breaker: CircuitBreaker,
) -> None:
    """Its calls may be of a kind that still works, while each call elsewhere is lost."""
    breaker.record(ok=True, account="works")
    fail(breaker, "1", "2", "3", "4", calls=5)
    assert breaker.state().name == "open"


def test_calls_without_an_account_open_no_breaker_by_their_answers(
    breaker: CircuitBreaker,
) -> None:
    """Creating accounts may fail while messages go out."""
    for _ in range(30):
        breaker.record(ok=False)
    assert breaker.state().name == "closed"


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
    fail(breaker, ACCOUNT, calls=15)
    for key in redis_client.scan_iter(keys.breaker_calls("*", "*")):
        redis_client.rename(key, keys.breaker_calls(HOST, 1))
    fail(breaker, ACCOUNT, calls=15)
    assert breaker.state(ACCOUNT).name == "closed"


def test_all_processes_share_the_state(redis_client: "redis.Redis", clock: Clock) -> None:
    fail(open_breaker(redis_client, clock), ACCOUNT)
    assert CircuitBreaker(redis_client, URL, clock).state().name == "open"
    assert CircuitBreaker(redis_client, URL, clock).state(ACCOUNT).scope == "account"
    assert CircuitBreaker(redis_client, "https://other.test", clock).state(ACCOUNT).name == "closed"


@pytest.mark.parametrize("account", [None, ACCOUNT])
def test_while_open_no_call_goes_through(
    redis_client: "redis.Redis", clock: Clock, account: str | None
) -> None:
    """Callers learn how long to wait, and nothing is sent."""
    breaker = CircuitBreaker(redis_client, URL, clock)
    if account:
        fail(breaker, account)
    else:
        breaker = open_breaker(redis_client, clock)
    with pytest.raises(UnavailableError) as caught, breaker.call(account):
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


def test_a_message_is_no_probe(redis_client: "redis.Redis", clock: Clock) -> None:
    """Its delivery would be unknown if it failed."""
    breaker = open_breaker(redis_client, clock)
    end_open_time(redis_client, clock)
    assert breaker.needs_probe(ACCOUNT)
    with pytest.raises(UnavailableError), breaker.call(ACCOUNT, may_probe=False):
        pytest.fail("a message was the probe")
    probe(breaker, ACCOUNT)
    assert not breaker.needs_probe(ACCOUNT)
    with breaker.call(ACCOUNT, may_probe=False):
        pass


def test_after_its_probe_an_account_is_tried_with_one_call(
    redis_client: "redis.Redis", clock: Clock
) -> None:
    """An account may answer status calls and fail for messages: one more is lost, not twenty."""
    breaker = CircuitBreaker(redis_client, URL, clock)
    fail(breaker, ACCOUNT)
    for expected in (10, 20):
        end_open_time(redis_client, clock, ACCOUNT_KEY)
        probe(breaker, ACCOUNT)
        assert breaker.state(ACCOUNT).name == "trial"
        with breaker.call(ACCOUNT, may_probe=False) as trial:
            clock.tick()
            with pytest.raises(UnavailableError), breaker.call(ACCOUNT, may_probe=False):
                pytest.fail("there were two trials")
            trial.failed()
        assert expected * 0.79 <= breaker.state(ACCOUNT).retry_after_s <= expected * 1.21
    end_open_time(redis_client, clock, ACCOUNT_KEY)
    probe(breaker, ACCOUNT)
    probe(breaker, ACCOUNT)
    assert breaker.state(ACCOUNT) == BreakerState("closed")
    assert not redis_client.exists(keys.open_breakers(HOST))


def test_a_probe_that_comes_too_late_is_no_trial(redis_client: "redis.Redis", clock: Clock) -> None:
    """Two messages were about to probe: the second status call would close the breaker."""
    first, second = (CircuitBreaker(redis_client, URL, clock) for _ in range(2))
    fail(first, ACCOUNT)
    end_open_time(redis_client, clock, ACCOUNT_KEY)
    assert first.needs_probe(ACCOUNT)
    assert second.needs_probe(ACCOUNT)
    probe(first, ACCOUNT)
    with pytest.raises(UnavailableError):
        probe(second, ACCOUNT)
    assert second.state(ACCOUNT).name == "trial"
    with second.call(ACCOUNT, may_probe=False) as trial:
        trial.failed()
    assert second.state(ACCOUNT).name == "open"


def test_a_failed_probe_opens_it_for_longer(redis_client: "redis.Redis", clock: Clock) -> None:
    """5 s, 10 s, 20 s, up to a minute, each within 20 %."""
    breaker = open_breaker(redis_client, clock)
    durations = []
    for _ in range(6):
        durations.append(breaker.state().retry_after_s)
        end_open_time(redis_client, clock)
        probe(breaker, ok=False)
    for duration, expected in zip(durations, [5, 10, 20, 40, 60, 60], strict=True):
        assert expected * 0.79 <= duration <= expected * 1.21


def test_an_account_whose_probe_failed_does_not_make_the_next_one(
    redis_client: "redis.Redis", clock: Clock
) -> None:
    """A broken account would hold the breaker of the platform open for all."""
    breaker = open_breaker(redis_client, clock)
    end_open_time(redis_client, clock)
    probe(breaker, "broken", ok=False)
    end_open_time(redis_client, clock)
    with pytest.raises(UnavailableError), breaker.call("broken"):
        pytest.fail("the broken account probed again")
    probe(breaker, "works")
    assert breaker.state("works") == BreakerState("closed")


def test_calm_makes_the_next_opening_short_again(redis_client: "redis.Redis", clock: Clock) -> None:
    """The series restarts a minute after the breaker closed, and continues before that."""
    for calm_s, expected in ((59, 10), (61, 5)):
        redis_client.delete(KEY)
        breaker = open_breaker(redis_client, clock)
        end_open_time(redis_client, clock)
        probe(breaker)
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


def test_a_lost_connect_says_nothing_about_an_account(
    redis_client: "redis.Redis", clock: Clock
) -> None:
    """The probe of its breaker has no result, and the platform has a lost connect."""
    breaker = CircuitBreaker(redis_client, URL, clock)
    fail(breaker, ACCOUNT)
    end_open_time(redis_client, clock, ACCOUNT_KEY)
    with breaker.call(ACCOUNT) as call:
        call.failed(reached=False)
    assert redis_client.hget(KEY, "lost_connects") == b"1"
    assert breaker.state(ACCOUNT).name == "probe"


def test_a_killed_probe_is_replaced(redis_client: "redis.Redis", clock: Clock) -> None:
    """The lease of the probe ends."""
    breaker = open_breaker(redis_client, clock)
    end_open_time(redis_client, clock)
    lease = keys.circuit_breaker_probe(HOST)
    redis_client.set(lease, "killed process", px=60_000)
    assert breaker.state().name == "open"
    redis_client.delete(lease)
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


def test_a_clock_that_is_set_back_does_not_lengthen_the_open_time(
    redis_client: "redis.Redis", clock: Clock
) -> None:
    """The open time that is left is a minute and a fifth at most."""
    breaker = open_breaker(redis_client, clock)
    redis_client.hset(KEY, "open_until", int((time.time() + 3600) * 1000))
    clock.tick()
    assert breaker.state().retry_after_s <= 72


def test_an_opening_and_a_closing_are_logged_with_what_waits(
    redis_client: "redis.Redis", clock: Clock
) -> None:
    """Each once, by the process that caused it; the counters are for the metrics."""
    breaker = CircuitBreaker(
        redis_client, URL, clock, count_waiting=lambda account: len(account or "")
    )
    with capture_logs() as logged:
        fail(breaker, ACCOUNT, calls=25)
        end_open_time(redis_client, clock, ACCOUNT_KEY)
        probe(breaker, ACCOUNT)
        probe(breaker, ACCOUNT)
    events = [(line["event"], line["account"], line["waiting"], line["reason"]) for line in logged]
    assert events == [
        ("breaker.opened", ACCOUNT, 13, "20 of 20 calls failed"),
        ("breaker.closed", ACCOUNT, 13, "a call succeeded"),
    ]
    assert redis_client.hgetall(keys.BREAKER_CHANGES) == {
        b"account opened": b"1",
        b"account closed": b"1",
    }


def test_a_healthy_platform_costs_a_round_trip_a_second(
    redis_client: "redis.Redis", clock: Clock
) -> None:
    """1,000 calls at once: a single read of the state, and no report within a second."""
    breaker = CircuitBreaker(redis_client, URL, clock)
    before = redis_client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
    for number in range(1000):
        probe(breaker, str(number % 10))
    after = redis_client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert after - before <= 3
    clock.tick()
    breaker.state()
    (calls,) = redis_client.scan_iter(keys.breaker_calls("*", "*"))
    assert redis_client.hgetall(calls) == {f"s:{one}".encode(): b"100" for one in range(10)}


def test_without_redis_calls_go_through() -> None:
    """An outage of Redis must not stop a send here."""
    with redis.Redis(port=1, retry=Retry(NoBackoff(), 0)) as client:
        breaker = CircuitBreaker(client, URL)
        for _ in range(10):
            with breaker.call() as call:
                call.failed(reached=False)
        assert breaker.state() == BreakerState("closed")

"""The protocol of single flight, on a real Redis: as a state machine, and step by step where a step needs its name."""

import hashlib
import time
from typing import Any, cast

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from shared.tokens.flights import Elected, Flights, Held, KeyRefused, Life, Nobody, Paused, Underway

ACCOUNT = "0000000000042"
KEY = f"wpp:token:{{{ACCOUNT}}}"
LONG = Life(900, 840, 600)


def ask(flights: Flights, unwanted: int | None = None) -> object:
    return flights.ask(ACCOUNT, unwanted=unwanted, may_mint=True, may_ahead=True)


class Protocol(RuleBasedStateMachine):
    """Three clients, one account. Time passes by taking away what it would have ended."""

    def __init__(self, client: "redis.Redis") -> None:
        super().__init__()
        self.redis = client
        self.clients = [Flights(client, lease_s=60) for _ in range(3)]
        self.airborne: set[tuple[int, int]] = set()
        """Who has been elected and not landed: client and fence."""
        self.holder: tuple[int, int] | None = None
        self.published: dict[int, str] = {}
        self.dropped: set[int] = set()
        self.highest = 0

    @initialize()
    def begin(self) -> None:
        self.redis.flushall()

    def stored(self) -> tuple[int, str | None]:
        generation, value = cast("list[bytes | None]", self.redis.hmget(KEY, ["gen", "value"]))
        return int(generation or 0), value.decode() if value else None

    @rule(who=st.integers(0, 2), refused=st.booleans())
    def ask(self, who: int, refused: bool) -> None:  # noqa: FBT001 - hypothesis calls it by name
        """One lease holder at a time, fences that only rise, and never the token that the asker does not want."""
        unwanted = self.stored()[0] if refused else None
        match ask(self.clients[who], unwanted):
            case Elected(fence=fence):
                self.elected(who, fence)
            case Held(value=value, generation=generation, fence=ahead):
                assert generation != unwanted
                assert generation not in self.dropped
                assert self.published[generation] == value
                if ahead:
                    self.elected(who, ahead)
            case Underway(fence=fence):
                assert self.holder is not None
                assert self.holder[1] == fence

    def elected(self, who: int, fence: int) -> None:
        assert self.holder is None, "two hold the lease"
        assert fence > self.highest
        self.highest, self.holder = fence, (who, fence)
        self.airborne.add(self.holder)

    @rule(data=st.data(), how=st.sampled_from(["token", "token", "refused", "failed"]))
    def land(self, data: st.DataObject, how: str) -> None:
        """Any flight may land, however late; only a younger token than the stored one is published."""
        if not self.airborne:
            return
        who, fence = data.draw(st.sampled_from(sorted(self.airborne)))
        self.airborne.discard((who, fence))
        before = self.stored()[0]
        flights, value = self.clients[who], f"token-{who}-{fence}"
        if how == "token":
            assert flights.land(ACCOUNT, fence, value, LONG) == (fence > before)
            if fence > before:
                self.published[fence] = value
        elif how == "refused":
            flights.refuse(ACCOUNT, fence, "why", 5)
        else:
            flights.fail(ACCOUNT, fence, 5, 5)
        if self.holder == (who, fence):
            self.holder = None
        assert self.redis.llen(f"{KEY}:bell:{fence}") == 1, "whoever waits for it wakes"

    @rule(who=st.integers(0, 2))
    def adopt(self, who: int) -> None:
        fence = self.clients[who].adopt(ACCOUNT, "adopted", LONG)
        assert fence > self.highest
        self.highest, self.published[fence], self.holder = fence, "adopted", None

    @rule(who=st.integers(0, 2), older=st.integers(0, 2))
    def drop(self, who: int, older: int) -> None:
        """Only the stored generation can be dropped, once."""
        generation, value = self.stored()
        dropped = self.clients[who].drop(ACCOUNT, generation - older)
        assert dropped == (value is not None and older == 0)
        if dropped:
            self.dropped.add(generation)

    @rule()
    def lease_ends(self) -> None:
        self.redis.delete(f"{KEY}:lease")
        self.holder = None

    @rule(who=st.integers(0, 2))
    def key_is_repaired(self, who: int) -> None:
        self.clients[who].forget(ACCOUNT)
        self.holder = None

    @rule()
    def memory_of_failure_ends(self) -> None:
        self.redis.delete(f"{KEY}:pause", f"{KEY}:refused")

    @rule()
    def refresh_is_due(self) -> None:
        if self.redis.hexists(KEY, "soft"):
            self.redis.hset(KEY, "soft", 1)

    @rule()
    def token_stops_counting(self) -> None:
        if self.redis.hexists(KEY, "hard"):
            self.redis.hset(KEY, "hard", 1)

    @rule()
    def token_ends(self) -> None:
        self.redis.delete(KEY)

    @rule()
    def fence_is_lost(self) -> None:
        """Evicted, or not yet copied when a replica took over; by then the clock has gone on."""
        self.redis.delete(f"{KEY}:fence")
        time.sleep(0.002)

    @invariant()
    def stored_is_what_was_published(self) -> None:
        generation, value = self.stored()
        assert value is None or self.published[generation] == value

    @invariant()
    def the_lease_is_with_its_holder(self) -> None:
        lease: Any = self.redis.get(f"{KEY}:lease")
        expected = f"{self.clients[self.holder[0]].owner}:{self.holder[1]}" if self.holder else None
        assert (lease.decode() if lease else None) == expected


def test_the_protocol_keeps_its_promises(redis_client: "redis.Redis") -> None:
    """Whatever is lost, late or repeated: one holder, rising fences, the youngest token."""
    quick = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(lambda: Protocol(redis_client), settings=quick)  # type: ignore[arg-type] # any factory


@pytest.fixture
def flights(redis_client: "redis.Redis") -> Flights:
    return Flights(redis_client, lease_s=5)


def elect(flights: Flights) -> int:
    answer = ask(flights)
    assert isinstance(answer, Elected)
    return answer.fence


def test_a_landed_flight_wakes_even_who_comes_late(flights: Flights) -> None:
    """Waiting for a flight that has landed returns at once, any number of times."""
    fence = elect(flights)
    flights.land(ACCOUNT, fence, "token", LONG)
    began = time.monotonic()
    for _ in range(3):
        flights.wait(ACCOUNT, fence, 5)
    assert time.monotonic() - began < 1


def test_failures_in_a_row_pause_for_longer(flights: Flights, redis_client: "redis.Redis") -> None:
    """1 s, 2 s, 4 s, up to the limit; a success ends the series."""
    pauses = []
    for _ in range(4):
        flights.fail(ACCOUNT, elect(flights), 1, 3)
        answer = ask(flights)
        assert isinstance(answer, Paused)
        pauses.append(round(answer.for_s, 1))
        redis_client.setrange(f"{KEY}:pause", 2, "0000000000000")  # its end has passed, its count stays
    assert pauses == [1, 2, 3, 3]
    flights.land(ACCOUNT, elect(flights), "token", LONG)
    assert redis_client.get(f"{KEY}:pause") is None


def test_a_refused_key_is_remembered_and_not_asked_with(flights: Flights, redis_client: "redis.Redis") -> None:
    """All are told the reason for as long as it holds; then one is elected again."""
    flights.refuse(ACCOUNT, elect(flights), "Invalid API key", 0.05)
    assert ask(flights) == KeyRefused("Invalid API key")
    time.sleep(0.06)
    assert isinstance(ask(flights), Elected)
    assert redis_client.get(f"{KEY}:refused") is None


def test_a_refusal_of_the_old_key_does_not_outlast_its_repair(flights: Flights) -> None:
    """A flight with the old key that lands after the repair changes nothing."""
    fence = elect(flights)
    flights.forget(ACCOUNT)
    flights.refuse(ACCOUNT, fence, "Invalid API key", 60)
    assert isinstance(ask(flights), Elected)


def test_the_elected_learns_which_token_was_refused(flights: Flights) -> None:
    """So that it does not take the same one from the store."""
    generation = flights.adopt(ACCOUNT, "refused", LONG)
    assert flights.drop(ACCOUNT, generation)
    answer = ask(flights)
    assert isinstance(answer, Elected)
    assert answer.refused_sha1 == hashlib.sha1(b"refused", usedforsecurity=False).hexdigest()


def test_who_may_not_mint_is_not_elected(flights: Flights) -> None:
    """It leaves the lease to others."""
    assert flights.ask(ACCOUNT, unwanted=None, may_mint=False, may_ahead=True) == Nobody()
    assert isinstance(ask(flights), Elected)


def test_one_is_elected_to_refresh_ahead(flights: Flights) -> None:
    """The token goes on being used by all, and one of them refreshes it; none that may not."""
    flights.adopt(ACCOUNT, "token", Life(900, 840, 0))
    idle = flights.ask(ACCOUNT, unwanted=None, may_mint=True, may_ahead=False)
    first, second = ask(flights), ask(flights)
    assert isinstance(idle, Held)
    assert isinstance(first, Held)
    assert isinstance(second, Held)
    assert (idle.fence, second.fence) == (None, None)
    assert first.fence is not None
    assert not flights.is_newest(ACCOUNT, first.fence)


def test_text_clients_are_served_as_well(redis_client: "redis.Redis") -> None:
    """A client that decodes replies makes no difference."""
    arguments = redis_client.connection_pool.connection_kwargs
    with redis.Redis(host=arguments["host"], port=arguments["port"], decode_responses=True) as client:
        flights = Flights(client, lease_s=5)
        assert flights.land(ACCOUNT, elect(flights), "token", LONG)
        assert isinstance(ask(flights), Held)

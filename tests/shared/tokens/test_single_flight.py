"""The protocol of single flight, on a real Redis: as a state machine, and step by step where a step needs its name."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from shared.tokens.single_flight import (
    Cached,
    Elected,
    InProgress,
    KeyRefused,
    Paused,
    SingleFlight,
    TokenLifetime,
    Unavailable,
)

ACCOUNT = "0000000000042"
KEY = f"wpp:token:{{{ACCOUNT}}}"
LONG = TokenLifetime(900, 840, 600)


LEASE_S = 60.0
STRIKES = (10, 5, 60)
"""Seconds: what counts as young, the pause after two in a row, the longest one."""


def ask(flights: SingleFlight, unwanted: int | None = None) -> object:
    return flights.ask(ACCOUNT, unwanted=unwanted, may_mint=True, may_ahead=True)


class Repeating(SingleFlight):
    """Loses the reply of a command when told to, as a connection that breaks; the client then repeats it."""

    loses = False

    def _run(self, account: str, operation: str, *arguments: str | float) -> Any:
        first = super()._run(account, operation, *arguments)
        if not self.loses:
            return first
        self.loses = False
        return super()._run(account, operation, *arguments)


@contextmanager
def losing(flights: Repeating, lost: bool) -> Iterator[None]:  # noqa: FBT001
    flights.loses = lost
    yield
    flights.loses = False


class Protocol(RuleBasedStateMachine):
    """Three clients, one account. Time passes by taking away what it would have ended."""

    def __init__(self, client: "redis.Redis") -> None:
        super().__init__()
        self.redis = client
        self.clients = [Repeating(client, LEASE_S) for _ in range(3)]
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

    @rule(who=st.integers(0, 2), refused=st.booleans(), may_mint=st.booleans(), lost=st.booleans())
    def ask(self, who: int, refused: bool, may_mint: bool, lost: bool) -> None:  # noqa: FBT001 - hypothesis' way
        """One lease holder at a time, fences that only rise, and never the token that the asker does not want.

        Nor does a lost reply leave an election that nobody knows of.
        """
        unwanted = self.stored()[0] if refused else None
        with losing(self.clients[who], lost):
            answer = self.clients[who].ask(
                ACCOUNT, unwanted=unwanted, may_mint=may_mint, may_ahead=True
            )
        match answer:
            case Elected(fence=fence):
                assert may_mint
                self.elected(who, fence)
            case Cached(value=value, generation=generation, fence=ahead):
                assert generation != unwanted
                assert generation not in self.dropped
                assert self.published[generation] == value
                if ahead:
                    self.elected(who, ahead)
            case InProgress(fence=fence):
                assert self.holder is not None
                assert self.holder[1] == fence

    def elected(self, who: int, fence: int) -> None:
        assert self.holder is None, "two hold the lease"
        assert fence > self.highest
        self.highest, self.holder = fence, (who, fence)
        self.airborne.add(self.holder)

    @rule(
        data=st.data(),
        how=st.sampled_from(["token", "token", "refused", "failed"]),
        lost=st.booleans(),
    )
    def land(self, data: st.DataObject, how: str, lost: bool) -> None:  # noqa: FBT001
        """Any flight may land, however late; only a younger token than the stored one is published."""
        if not self.airborne:
            return
        who, fence = data.draw(st.sampled_from(sorted(self.airborne)))
        self.airborne.discard((who, fence))
        before = self.stored()[0]
        flights, value = self.clients[who], f"token-{who}-{fence}"
        with losing(flights, lost):
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

    @rule(who=st.integers(0, 2), lost=st.booleans())
    def key_is_repaired(self, who: int, lost: bool) -> None:  # noqa: FBT001
        """Its flight takes the lease over, whoever has it; all that began before are fenced off when it lands."""
        with losing(self.clients[who], lost):
            fence = self.clients[who].begin(ACCOUNT)
        assert not self.clients[who].is_refused(ACCOUNT)
        self.holder = None
        self.elected(who, fence)

    @rule(who=st.integers(0, 2), older=st.integers(0, 2))
    def drop(self, who: int, older: int) -> None:
        """Only the stored generation can be dropped, once."""
        generation, value = self.stored()
        dropped = self.clients[who].drop(ACCOUNT, generation - older, *STRIKES)
        assert dropped == (value is not None and older == 0)
        if dropped:
            self.dropped.add(generation)

    @rule()
    def lease_ends(self) -> None:
        self.redis.delete(f"{KEY}:lease")
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
        assert (lease.decode().rpartition(":")[0] if lease else None) == expected


def test_the_protocol_keeps_its_promises(redis_client: "redis.Redis") -> None:
    """Whatever is lost, late or repeated: one holder, rising fences, the youngest token."""
    quick = settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lambda: Protocol(redis_client), settings=quick)  # type: ignore[arg-type] # any factory


@pytest.fixture
def flights(redis_client: "redis.Redis") -> SingleFlight:
    return SingleFlight(redis_client, lease_s=5)


def elect(flights: SingleFlight) -> int:
    answer = ask(flights)
    assert isinstance(answer, Elected)
    return answer.fence


def publish(flights: SingleFlight, life: TokenLifetime) -> int:
    fence = elect(flights)
    assert flights.land(ACCOUNT, fence, "token", life)
    return fence


def test_a_landed_flight_wakes_even_who_comes_late(flights: SingleFlight) -> None:
    """Waiting for a flight that has landed returns at once, any number of times."""
    fence = elect(flights)
    flights.land(ACCOUNT, fence, "token", LONG)
    began = time.monotonic()
    for _ in range(3):
        flights.wait(ACCOUNT, fence, 5)
    assert time.monotonic() - began < 1


def test_failures_in_a_row_pause_for_longer(
    flights: SingleFlight, redis_client: "redis.Redis"
) -> None:
    """1 s, 2 s, 4 s, up to the limit; a success ends the series."""
    pauses = []
    for _ in range(4):
        flights.fail(ACCOUNT, elect(flights), 1, 3)
        answer = ask(flights)
        assert isinstance(answer, Paused)
        pauses.append(round(answer.for_s, 1))
        redis_client.setrange(
            f"{KEY}:pause", 2, "0000000000000"
        )  # its end has passed, its count stays
    assert pauses == [1, 2, 3, 3]
    flights.land(ACCOUNT, elect(flights), "token", LONG)
    assert redis_client.get(f"{KEY}:pause") is None


def test_a_refused_key_is_remembered_and_not_asked_with(
    flights: SingleFlight, redis_client: "redis.Redis"
) -> None:
    """All are told the reason for as long as it holds; then one is elected again."""
    flights.refuse(ACCOUNT, elect(flights), "Invalid API key", 0.05)
    assert ask(flights) == KeyRefused("Invalid API key")
    time.sleep(0.06)
    assert isinstance(ask(flights), Elected)
    assert redis_client.get(f"{KEY}:refused") is None


def test_a_refusal_of_the_old_key_does_not_outlast_its_repair(
    flights: SingleFlight, redis_client: "redis.Redis"
) -> None:
    """A flight with the old key that lands after the repair changes nothing, and nor does its token."""
    old = [elect(flights)]
    redis_client.delete(f"{KEY}:lease")
    old.append(elect(flights))
    new = flights.begin(ACCOUNT)
    flights.refuse(ACCOUNT, old[0], "Invalid API key", 60)
    waited = ask(flights)
    assert isinstance(waited, InProgress)
    assert waited.fence == new
    assert flights.land(ACCOUNT, new, "new", LONG)
    assert not flights.land(ACCOUNT, old[1], "of the old key", LONG)
    assert isinstance(found := ask(flights), Cached)
    assert found.value == "new"


def test_the_elected_learns_that_a_token_was_refused(flights: SingleFlight) -> None:
    """So that it does not take the same one from the store."""
    generation = publish(flights, LONG)
    assert flights.drop(ACCOUNT, generation, *STRIKES)
    answer = ask(flights)
    assert isinstance(answer, Elected)
    assert answer.after_refusal
    flights.land(ACCOUNT, answer.fence, "another", LONG)
    assert isinstance(again := ask(flights, answer.fence), Elected)
    assert not again.after_refusal


def test_an_election_whose_reply_was_lost_is_told_again(redis_client: "redis.Redis") -> None:
    """Cold and ahead: else its account would wait for a holder that does not know that it is one."""
    flights = Repeating(redis_client, LEASE_S)
    with losing(flights, lost=True):
        cold = elect(flights)
    assert isinstance(ask(flights), InProgress), "another ask of the same process is not meant"
    assert flights.land(ACCOUNT, cold, "token", TokenLifetime(900, 840, 0))
    with losing(flights, lost=True):
        ahead = ask(flights)
    assert isinstance(ahead, Cached)
    assert ahead.fence
    assert ahead.fence > cold
    assert isinstance(other := ask(flights), Cached)
    assert other.fence is None


def test_a_landing_whose_reply_was_lost_has_counted(redis_client: "redis.Redis") -> None:
    """Its token is the newest, and goes on to the store."""
    flights = Repeating(redis_client, LEASE_S)
    with losing(flights, lost=True):
        assert flights.land(ACCOUNT, elect(flights), "token", LONG)


@pytest.mark.parametrize(
    ("frozen_s", "published"), [(0, True), (60, True), (600, True), (1000, False)]
)
def test_who_froze_before_landing_publishes_no_more_than_is_left(
    redis_client: "redis.Redis",
    frozen_s: int,
    published: bool,  # noqa: FBT001
) -> None:
    """The fence tells when the flight began: what is more than a lease ago has been lived since."""
    flights, lease_s = SingleFlight(redis_client, 9), 9
    elect(flights)
    fence = int(time.time() - frozen_s) * 1000
    redis_client.set(f"{KEY}:lease", f"{flights.owner}:{fence}:1")
    assert flights.land(ACCOUNT, fence, "token", TokenLifetime(900, 840, 600)) is published
    assert redis_client.get(f"{KEY}:lease") is None
    if published:
        assert isinstance(found := ask(flights), Cached)
        lost_s = max(0, frozen_s - lease_s)
        assert found.life.left_s == pytest.approx(900 - lost_s, abs=2)
        assert found.life.usable_s == pytest.approx(840 - lost_s, abs=2)
        assert found.life.fresh_s == pytest.approx(max(0, 600 - lost_s), abs=2)


def test_the_same_token_again_is_not_refreshed_ahead_a_second_time(flights: SingleFlight) -> None:
    """A platform that hands out one token until its end has no other: it is asked again when that one is over."""
    first = publish(flights, TokenLifetime(900, 840, 0))
    assert isinstance(ahead := ask(flights), Cached)
    assert ahead.fence
    assert flights.land(ACCOUNT, ahead.fence, "token", TokenLifetime(300, 240, 40))
    assert isinstance(found := ask(flights), Cached)
    assert found.generation > first
    assert found.life.fresh_s == found.life.usable_s == pytest.approx(240, abs=1)


def test_a_token_refused_as_soon_as_the_one_before_it_pauses_the_account(
    flights: SingleFlight, redis_client: "redis.Redis"
) -> None:
    """The first may have been revoked; the second says that no token is taken: 5 s, 10 s, and so on up to the limit."""
    pauses: list[float] = []
    for _ in range(6):
        assert flights.drop(ACCOUNT, publish(flights, LONG), *STRIKES)
        answer = ask(flights)
        pauses.append(round(answer.for_s) if isinstance(answer, Paused) else 0)
        redis_client.delete(f"{KEY}:pause", f"{KEY}:lease")
    assert pauses == [0, 5, 10, 20, 40, 60]
    worked = publish(flights, LONG)
    redis_client.hincrby(KEY, "at", -11_000)
    assert flights.drop(ACCOUNT, worked, *STRIKES)
    assert isinstance(ask(flights), Elected), "a token that has worked begins a new series"


def test_who_may_not_mint_is_not_elected(flights: SingleFlight) -> None:
    """It leaves the lease to others."""
    assert flights.ask(ACCOUNT, unwanted=None, may_mint=False, may_ahead=True) == Unavailable()
    assert isinstance(ask(flights), Elected)


def test_one_is_elected_to_refresh_ahead(flights: SingleFlight) -> None:
    """The token goes on being used by all, and one of them refreshes it; none that may not."""
    publish(flights, TokenLifetime(900, 840, 0))
    idle = flights.ask(ACCOUNT, unwanted=None, may_mint=True, may_ahead=False)
    first, second = ask(flights), ask(flights)
    assert isinstance(idle, Cached)
    assert isinstance(first, Cached)
    assert isinstance(second, Cached)
    assert (idle.fence, second.fence) == (None, None)
    assert first.fence is not None
    assert not flights.is_newest(ACCOUNT, first.fence)


def test_text_clients_are_served_as_well(redis_client: "redis.Redis") -> None:
    """A client that decodes replies makes no difference."""
    arguments = redis_client.connection_pool.connection_kwargs
    with redis.Redis(
        host=arguments["host"], port=arguments["port"], decode_responses=True
    ) as client:
        flights = SingleFlight(client, lease_s=5)
        assert flights.land(ACCOUNT, elect(flights), "token", LONG)
        assert isinstance(ask(flights), Cached)


def test_a_full_redis_has_room_for_a_token(
    flights: SingleFlight, redis_client: "redis.Redis"
) -> None:
    """Without one nothing would go out that makes room again: elected, landed, refused, elected anew."""
    redis_client.config_set("maxmemory", 1)
    try:
        first = ask(flights)
        assert isinstance(first, Elected)
        assert flights.land(ACCOUNT, first.fence, "token", LONG)
        assert isinstance(ask(flights), Cached)
        assert flights.drop(ACCOUNT, first.fence, *STRIKES)
        assert isinstance(ask(flights), Elected)
    finally:
        redis_client.config_set("maxmemory", 0)

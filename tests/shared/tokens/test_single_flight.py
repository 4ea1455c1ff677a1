"""The single-flight protocol on a real Redis: as a state machine, and step by step."""

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

from shared.redis import keys
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
from tests.fixtures.waiting import shortest_s

ACCOUNT = "0000000000042"
KEY = keys.token(ACCOUNT)
LIFETIME = TokenLifetime(900, 840, 600)


LEASE_S = 60.0
LIMITS = (10, 5, 60)
"""Seconds: min_age_s, pause_s and max_pause_s of `SingleFlight.reject`."""


def request_token(flights: SingleFlight, unwanted: int | None = None) -> object:
    return flights.request(ACCOUNT, unwanted=unwanted, may_mint=True, may_refresh=True)


class LossySingleFlight(SingleFlight):
    """Loses the reply of the next command if `loses_reply` is set; the client then repeats it."""

    loses_reply = False

    def _run(self, account: str, operation: str, *arguments: str | float) -> Any:
        first = super()._run(account, operation, *arguments)
        if not self.loses_reply:
            return first
        self.loses_reply = False
        return super()._run(account, operation, *arguments)


@contextmanager
def losing_reply(flights: LossySingleFlight, is_lost: bool) -> Iterator[None]:  # noqa: FBT001
    flights.loses_reply = is_lost
    yield
    flights.loses_reply = False


def read_time_ms(client: "redis.Redis") -> int:
    seconds, microseconds = client.time()
    return seconds * 1000 + microseconds // 1000


class SingleFlightMachine(RuleBasedStateMachine):
    """Three clients and an account; rules delete the keys that would expire with time."""

    def __init__(self, client: "redis.Redis") -> None:
        super().__init__()
        self.redis = client
        self.clients = [LossySingleFlight(client, LEASE_S) for _ in range(3)]
        self.running: set[tuple[int, int]] = set()
        """Elected flights that have not finished: client and fence."""
        self.holder: tuple[int, int] | None = None
        self.published: dict[int, str] = {}
        self.rejected: set[int] = set()
        self.highest = 0

    @initialize()
    def begin(self) -> None:
        self.redis.flushall()

    def stored(self) -> tuple[int, str | None]:
        generation, value = cast(
            "list[bytes | None]", self.redis.hmget(KEY, ["generation", "value"])
        )
        return int(generation or 0), value.decode() if value else None

    @rule(
        who=st.integers(0, 2), refused=st.booleans(), may_mint=st.booleans(), is_lost=st.booleans()
    )
    def request_token(
        self,
        who: int,
        refused: bool,  # noqa: FBT001
        may_mint: bool,  # noqa: FBT001
        is_lost: bool,  # noqa: FBT001
    ) -> None:
        """A single lease holder, rising fences, and never the unwanted token.

        A lost reply does not lose its election.
        """
        unwanted = self.stored()[0] if refused else None
        with losing_reply(self.clients[who], is_lost):
            answer = self.clients[who].request(
                ACCOUNT, unwanted=unwanted, may_mint=may_mint, may_refresh=True
            )
        match answer:
            case Elected(fence=fence):
                assert may_mint
                self.elected(who, fence)
            case Cached(value=value, generation=generation, fence=ahead):
                assert generation != unwanted
                assert generation not in self.rejected
                assert self.published[generation] == value
                if ahead:
                    self.elected(who, ahead)
            case InProgress(fence=fence):
                assert self.holder is not None
                assert self.holder[1] == fence

    def elected(self, who: int, fence: int) -> None:
        assert self.holder is None, "two hold the lease"
        assert fence > self.highest
        self.highest = fence
        self.holder = (who, fence)
        self.running.add(self.holder)

    @rule(
        data=st.data(),
        how=st.sampled_from(["token", "token", "refused", "failed"]),
        is_lost=st.booleans(),
    )
    def finish(self, data: st.DataObject, how: str, is_lost: bool) -> None:  # noqa: FBT001
        """A flight may finish at any time; a token older than the stored token is not published."""
        if not self.running:
            return
        who, fence = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard((who, fence))
        before = self.stored()[0]
        flights = self.clients[who]
        value = f"token-{who}-{fence}"
        with losing_reply(flights, is_lost):
            if how == "token":
                assert flights.finish(ACCOUNT, fence, value, LIFETIME) == (fence > before)
                if fence > before:
                    self.published[fence] = value
            elif how == "refused":
                flights.refuse(ACCOUNT, fence, "why", 5)
            else:
                flights.fail(ACCOUNT, fence, 5, 5)
        if self.holder == (who, fence):
            self.holder = None
        assert self.redis.llen(keys.token_bell(ACCOUNT, fence)) == 1, "the bell wakes waiters"

    @rule(who=st.integers(0, 2), is_lost=st.booleans())
    def install_new_key(self, who: int, is_lost: bool) -> None:  # noqa: FBT001
        """The flight takes over the lease; earlier flights are fenced off once it has finished."""
        with losing_reply(self.clients[who], is_lost):
            fence = self.clients[who].take_over(ACCOUNT)
        assert not self.clients[who].is_refused(ACCOUNT)
        self.holder = None
        self.elected(who, fence)

    @rule(who=st.integers(0, 2), older=st.integers(0, 2))
    def reject(self, who: int, older: int) -> None:
        """Only the stored generation can be rejected, once."""
        generation, value = self.stored()
        rejected = self.clients[who].reject(ACCOUNT, generation - older, *LIMITS)
        assert rejected == (value is not None and older == 0)
        if rejected:
            self.rejected.add(generation)

    @rule()
    def lease_ends(self) -> None:
        self.redis.delete(keys.token_lease(ACCOUNT))
        self.holder = None

    @rule()
    def pause_and_refusal_end(self) -> None:
        self.redis.delete(keys.token_pause(ACCOUNT), keys.token_refusal(ACCOUNT))

    @rule()
    def refresh_is_due(self) -> None:
        if self.redis.hexists(KEY, "refresh_at"):
            self.redis.hset(KEY, "refresh_at", 1)

    @rule()
    def token_becomes_unusable(self) -> None:
        if self.redis.hexists(KEY, "usable_until"):
            self.redis.hset(KEY, "usable_until", 1)

    @rule()
    def token_ends(self) -> None:
        self.redis.delete(KEY)

    @rule()
    def fence_is_lost(self) -> None:
        """The fence was evicted, or not replicated before a failover; the clock has passed it.

        The elections of this test follow each other faster than the clock's milliseconds.
        """
        self.redis.delete(keys.token_fence(ACCOUNT))
        while read_time_ms(self.redis) <= self.highest:
            time.sleep(0.001)

    @invariant()
    def stored_token_was_published(self) -> None:
        generation, value = self.stored()
        assert value is None or self.published[generation] == value

    @invariant()
    def lease_names_the_holder(self) -> None:
        lease: Any = self.redis.get(keys.token_lease(ACCOUNT))
        expected = f"{self.clients[self.holder[0]].owner}:{self.holder[1]}" if self.holder else None
        assert (lease.decode().rpartition(":")[0] if lease else None) == expected


def test_the_protocol_holds_its_invariants(redis_client: "redis.Redis") -> None:
    """With lost, late and repeated replies: a single holder, rising fences, the latest token."""
    quick = settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine: Any = lambda: SingleFlightMachine(redis_client)  # noqa: E731 - any factory will do
    run_state_machine_as_test(machine, settings=quick)


@pytest.fixture
def flights(redis_client: "redis.Redis") -> SingleFlight:
    return SingleFlight(redis_client, lease_s=5)


def elect(flights: SingleFlight) -> int:
    answer = request_token(flights)
    assert isinstance(answer, Elected)
    return answer.fence


def publish(flights: SingleFlight, life: TokenLifetime) -> int:
    fence = elect(flights)
    assert flights.finish(ACCOUNT, fence, "token", life)
    return fence


@contextmanager
def pausing_for(flights: SingleFlight, pause_s: float) -> Iterator[None]:
    """The body has the account pause for `pause_s`, or not at all for 0.

    What is left of a pause is compared with the time that has passed since: it may be any time.
    """
    began_s = time.monotonic()
    yield
    answer = request_token(flights)
    if not pause_s:
        assert not isinstance(answer, Paused)
        return
    assert isinstance(answer, Paused)
    assert answer.for_s - 0.01 <= pause_s <= answer.for_s + time.monotonic() - began_s + 0.01


def test_a_finished_flight_wakes_late_waiters(flights: SingleFlight) -> None:
    """A wait for a finished flight returns at once, any number of times."""
    fence = elect(flights)
    flights.finish(ACCOUNT, fence, "token", LIFETIME)

    def wait() -> None:
        for _ in range(3):
            flights.wait(ACCOUNT, fence, 5)

    assert shortest_s(wait, 1) < 1


def test_failures_in_a_row_pause_for_longer(
    flights: SingleFlight, redis_client: "redis.Redis"
) -> None:
    """1 s, 2 s, 4 s, up to the limit; a success ends the series."""
    for pause_s in (1, 2, 3, 3):
        fence = elect(flights)
        with pausing_for(flights, pause_s):
            flights.fail(ACCOUNT, fence, 1, 3)
        redis_client.setrange(
            keys.token_pause(ACCOUNT), 2, "0000000000000"
        )  # the pause has ended, its count remains
    flights.finish(ACCOUNT, elect(flights), "token", LIFETIME)
    assert redis_client.get(keys.token_pause(ACCOUNT)) is None


def test_a_refusal_is_stored_for_its_ttl(
    flights: SingleFlight, redis_client: "redis.Redis"
) -> None:
    """Requests return the reason until the TTL ends; then a new election follows."""
    flights.refuse(ACCOUNT, elect(flights), "Invalid API key", 60)
    assert request_token(flights) == KeyRefused("Invalid API key")
    assert 30_000 < redis_client.pttl(keys.token_refusal(ACCOUNT)) <= 60_000
    redis_client.pexpire(keys.token_refusal(ACCOUNT), 1)
    while redis_client.exists(keys.token_refusal(ACCOUNT)):
        time.sleep(0.001)
    assert isinstance(request_token(flights), Elected)
    assert redis_client.get(keys.token_refusal(ACCOUNT)) is None


def test_flights_with_the_old_key_are_fenced_off(
    flights: SingleFlight, redis_client: "redis.Redis"
) -> None:
    """After a takeover neither a refusal nor a token of the old key changes the state."""
    old = [elect(flights)]
    redis_client.delete(keys.token_lease(ACCOUNT))
    old.append(elect(flights))
    new = flights.take_over(ACCOUNT)
    flights.refuse(ACCOUNT, old[0], "Invalid API key", 60)
    waited = request_token(flights)
    assert isinstance(waited, InProgress)
    assert waited.fence == new
    assert flights.finish(ACCOUNT, new, "new", LIFETIME)
    assert not flights.finish(ACCOUNT, old[1], "old", LIFETIME)
    assert isinstance(found := request_token(flights), Cached)
    assert found.value == "new"


def test_an_election_reports_a_rejected_token(flights: SingleFlight) -> None:
    """The elected process then skips the stored token, which is the same."""
    generation = publish(flights, LIFETIME)
    assert flights.reject(ACCOUNT, generation, *LIMITS)
    answer = request_token(flights)
    assert isinstance(answer, Elected)
    assert answer.after_rejection
    flights.finish(ACCOUNT, answer.fence, "another", LIFETIME)
    assert isinstance(again := request_token(flights, answer.fence), Elected)
    assert not again.after_rejection


def test_an_election_survives_a_lost_reply(redis_client: "redis.Redis") -> None:
    """Without a token and for an early refresh; else the account waits for the lease to end."""
    flights = LossySingleFlight(redis_client, LEASE_S)
    with losing_reply(flights, is_lost=True):
        cold = elect(flights)
    assert isinstance(request_token(flights), InProgress), (
        "a second request of the same process is not elected"
    )
    assert flights.finish(ACCOUNT, cold, "token", TokenLifetime(900, 840, 0))
    with losing_reply(flights, is_lost=True):
        ahead = request_token(flights)
    assert isinstance(ahead, Cached)
    assert ahead.fence
    assert ahead.fence > cold
    assert isinstance(other := request_token(flights), Cached)
    assert other.fence is None


def test_a_finish_survives_a_lost_reply(redis_client: "redis.Redis") -> None:
    """The repetition reports the token as published."""
    flights = LossySingleFlight(redis_client, LEASE_S)
    with losing_reply(flights, is_lost=True):
        assert flights.finish(ACCOUNT, elect(flights), "token", LIFETIME)


@pytest.mark.parametrize(
    ("frozen_s", "published"), [(0, True), (60, True), (600, True), (1000, False)]
)
def test_a_frozen_process_publishes_only_the_remaining_lifetime(
    redis_client: "redis.Redis",
    frozen_s: int,
    published: bool,  # noqa: FBT001
) -> None:
    """The fence is the start time of the flight; time beyond the lease is subtracted."""
    flights = SingleFlight(redis_client, 9)
    lease_s = 9
    elect(flights)
    fence = int(time.time() - frozen_s) * 1000
    redis_client.set(keys.token_lease(ACCOUNT), f"{flights.owner}:{fence}:1")
    assert flights.finish(ACCOUNT, fence, "token", TokenLifetime(900, 840, 600)) is published
    assert redis_client.get(keys.token_lease(ACCOUNT)) is None
    if published:
        assert isinstance(found := request_token(flights), Cached)
        lost_s = max(0, frozen_s - lease_s)
        assert found.lifetime.left_s == pytest.approx(900 - lost_s, abs=2)
        assert found.lifetime.usable_s == pytest.approx(840 - lost_s, abs=2)
        assert found.lifetime.fresh_s == pytest.approx(max(0, 600 - lost_s), abs=2)


def test_a_reused_token_is_refreshed_early_once(flights: SingleFlight) -> None:
    """A platform that reuses a token until its end has no newer token, so the refresh waits."""
    first = publish(flights, TokenLifetime(900, 840, 0))
    assert isinstance(ahead := request_token(flights), Cached)
    assert ahead.fence
    assert flights.finish(ACCOUNT, ahead.fence, "token", TokenLifetime(300, 240, 40))
    assert isinstance(found := request_token(flights), Cached)
    assert found.generation > first
    assert found.lifetime.fresh_s == found.lifetime.usable_s == pytest.approx(240, abs=1)


def test_two_rejected_tokens_in_a_row_pause_the_account(
    flights: SingleFlight, redis_client: "redis.Redis"
) -> None:
    """The first may be revoked; each further rejection doubles the pause, up to the limit."""
    for pause_s in (0, 5, 10, 20, 40, 60):
        generation = publish(flights, LIFETIME)
        with pausing_for(flights, pause_s):
            assert flights.reject(ACCOUNT, generation, *LIMITS)
        redis_client.delete(keys.token_pause(ACCOUNT), keys.token_lease(ACCOUNT))
    worked = publish(flights, LIFETIME)
    redis_client.hincrby(KEY, "published_at", -11_000)
    assert flights.reject(ACCOUNT, worked, *LIMITS)
    assert isinstance(request_token(flights), Elected), "a token that worked starts a new series"


def test_a_request_that_may_not_mint_is_not_elected(flights: SingleFlight) -> None:
    """The lease remains free."""
    assert (
        flights.request(ACCOUNT, unwanted=None, may_mint=False, may_refresh=True) == Unavailable()
    )
    assert isinstance(request_token(flights), Elected)


def test_one_request_is_elected_to_refresh_early(flights: SingleFlight) -> None:
    """All requests get the token; a request with permission is elected to refresh it."""
    publish(flights, TokenLifetime(900, 840, 0))
    idle = flights.request(ACCOUNT, unwanted=None, may_mint=True, may_refresh=False)
    first = request_token(flights)
    second = request_token(flights)
    assert isinstance(idle, Cached)
    assert isinstance(first, Cached)
    assert isinstance(second, Cached)
    assert (idle.fence, second.fence) == (None, None)
    assert first.fence is not None
    assert not flights.is_newest(ACCOUNT, first.fence)


def test_clients_that_decode_replies_work(redis_client: "redis.Redis") -> None:
    """Replies may be bytes or text."""
    arguments = redis_client.connection_pool.connection_kwargs
    with redis.Redis(
        host=arguments["host"], port=arguments["port"], decode_responses=True
    ) as client:
        flights = SingleFlight(client, lease_s=5)
        assert flights.finish(ACCOUNT, elect(flights), "token", LIFETIME)
        assert isinstance(request_token(flights), Cached)


def test_a_full_redis_has_room_for_a_token(
    flights: SingleFlight, redis_client: "redis.Redis"
) -> None:
    """Sends, which free memory, need a token: request, finish, reject and request work."""
    redis_client.config_set("maxmemory", 1)
    try:
        first = request_token(flights)
        assert isinstance(first, Elected)
        assert flights.finish(ACCOUNT, first.fence, "token", LIFETIME)
        assert isinstance(request_token(flights), Cached)
        assert flights.reject(ACCOUNT, first.fence, *LIMITS)
        assert isinstance(request_token(flights), Elected)
    finally:
        redis_client.config_set("maxmemory", 0)

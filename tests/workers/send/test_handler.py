"""Sends: what each failure of the platform means for the message."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import redis

from shared import routing
from shared.errors import (
    DatabaseUnavailableError,
    InvalidApiKeyError,
    LimitedError,
    NotConnectedError,
    NotSentError,
    PlatformError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    UnknownEffectError,
)
from shared.events import Message, SendEvent
from shared.http.deadline import remaining
from shared.lanes.client import Claim, ClaimResult, Lanes, Postponed, Settled, Slot
from shared.outcomes import DeadLetterOutcome, MessageOutcome
from shared.platform.circuit_breaker import BreakerState
from shared.platform.models import SendResult
from shared.redis import keys
from shared.route_cache import IntegrationRoute
from shared.settings import EngineSettings
from workers.context import WorkerContext
from workers.runner import drain, parse_first
from workers.send import handler as send

ORGANIZATION, INTEGRATION = uuid4(), uuid4()
ROUTE = IntegrationRoute(
    id=INTEGRATION,
    organization_id=ORGANIZATION,
    name="Shop",
    account="0000000000042",
    is_primary=True,
    is_enabled=True,
)


@dataclass
class Surroundings:
    """What a send works with: a real Redis, and a platform, a directory and a database that answer as told."""

    lanes: Lanes
    answer: SendResult | Exception = field(default_factory=lambda: SendResult("task_1"))
    route: IntegrationRoute | None = ROUTE
    breaker_state: BreakerState = field(default_factory=lambda: BreakerState("closed"))
    engine: EngineSettings = field(default_factory=EngineSettings)
    reported: list[str] = field(default_factory=list)
    left_s: list[float] = field(default_factory=list)

    @property
    def route_cache(self) -> "Surroundings":
        return self

    platform = database = integrations = breaker = tokens = route_cache

    @property
    def redis(self) -> "redis.Redis":
        return self.lanes.client

    def is_refused(self, _account: str) -> bool:
        return isinstance(self.answer, InvalidApiKeyError)

    def find_route(self, _integration_id: UUID) -> IntegrationRoute | None:
        return self.route

    def as_account(self, account: str) -> "Surroundings":
        assert account == ROUTE.account
        return self

    def send(self, _event: SendEvent) -> SendResult:
        self.left_s.append(remaining())
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def report_error(self, _integration_id: UUID, text: str) -> None:
        self.reported.append(text)

    def state(self) -> BreakerState:
        return self.breaker_state


@pytest.fixture
def around(redis_client: redis.Redis) -> Surroundings:
    return Surroundings(Lanes(redis_client, EngineSettings()))


@pytest.fixture
def handled(around: Surroundings) -> Callable[[], ClaimResult]:
    """Return a function that sends one message and returns the verdict."""

    def handle() -> ClaimResult:
        return parse_first(SendEvent, send.handle_send)(
            claimed(around.lanes), cast("WorkerContext", around)
        )

    return handle


def claimed(lanes: Lanes) -> Claim:
    lanes.append(
        routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Hello"))
    )
    claim = lanes.claim("send", Slot())
    assert claim
    return claim


def settled(verdict: ClaimResult) -> Settled:
    assert isinstance(verdict, Settled)
    return verdict


def test_what_the_platform_took_is_sent_with_its_id(handled: Callable[[], ClaimResult]) -> None:
    """The row learns the platform's task id, by which later webhooks name it."""
    verdict = settled(handled())
    assert verdict.state == "sent"
    outcome = cast("MessageOutcome", verdict.outcomes[0])
    assert (outcome.status, outcome.task_id) == ("sent", "task_1")


@pytest.mark.parametrize(
    "error",
    [NotSentError("no"), UnavailableError("away"), UnauthorizedError("stale token", status=401)],
)
def test_what_was_proven_not_sent_is_tried_again(
    around: Surroundings, handled: Callable[[], ClaimResult], error: PlatformError
) -> None:
    """Proof that the platform has not taken it allows another attempt."""
    around.answer = error
    assert isinstance(handled(), Postponed)


def test_a_limit_is_waited_out_as_long_as_the_platform_says(
    around: Surroundings, handled: Callable[[], ClaimResult]
) -> None:
    """429 with Retry-After is pacing: the conversation waits just so long."""
    around.answer = LimitedError("slow down", retry_after_s=7)
    verdict = handled()
    assert isinstance(verdict, Postponed)
    assert verdict.delay_s == 7


def test_what_was_refused_fails_and_leaves_a_dead_letter(
    around: Surroundings, handled: Callable[[], ClaimResult]
) -> None:
    """Trying again changes nothing: the row says failed with the reason, a dead letter keeps the event."""
    around.answer = RefusedError("recipient has no WhatsApp")
    verdict = settled(handled())
    message, letter = verdict.outcomes
    assert isinstance(message, MessageOutcome)
    assert isinstance(letter, DeadLetterOutcome)
    assert (verdict.state, message.status, message.error) == (
        "failed",
        "failed",
        "recipient has no WhatsApp",
    )
    assert (letter.reason, letter.event["text"]) == ("refused", "Hello")


def test_what_nobody_can_know_is_unknown(
    around: Surroundings, handled: Callable[[], ClaimResult]
) -> None:
    """A lost answer is no proof of anything: shown as unknown, not sent again."""
    around.answer = UnknownEffectError("the connection broke after the request")
    verdict = settled(handled())
    assert verdict.state == "unknown"
    assert [cast("MessageOutcome", outcome).status for outcome in verdict.outcomes] == ["unknown"]


def test_an_error_of_our_own_while_the_platform_is_asked_is_unknown(
    around: Surroundings, handled: Callable[[], ClaimResult]
) -> None:
    """Nobody knows whether the request had left: what is not proven unsent is not sent again."""
    around.answer = ValueError("an answer that nobody thought of")
    assert settled(handled()).state == "unknown"


def test_a_token_that_supabase_cannot_give_is_waited_for(
    around: Surroundings, handled: Callable[[], ClaimResult]
) -> None:
    """Without a token nothing has left; the drain postpones it."""
    around.answer = DatabaseUnavailableError("no answer")
    with pytest.raises(DatabaseUnavailableError):
        handled()


def test_the_platform_is_asked_within_the_lease_only(around: Surroundings) -> None:
    """A worker that was held up finds its time over: its conversation may have gone on without it."""
    claim = claimed(around.lanes)
    parse_first(SendEvent, send.handle_send)(claim, cast("WorkerContext", around))
    assert 0 < around.left_s[0] <= EngineSettings().wpp_lease_s
    late = Claim(**{**vars(claim), "until_s": time.monotonic() - 1})
    parse_first(SendEvent, send.handle_send)(late, cast("WorkerContext", around))
    assert around.left_s[1] < 0


def test_an_organization_that_prefers_doubles_has_it_sent_again(
    around: Surroundings, handled: Callable[[], ClaimResult]
) -> None:
    """The policy `resend` turns unknown into another attempt."""
    around.answer = UnknownEffectError("the connection broke after the request")
    around.route = ROUTE.model_copy(update={"resends_unknown": True})
    assert isinstance(handled(), Postponed)


def test_a_refused_key_holds_the_lanes_of_its_integration(
    around: Surroundings, handled: Callable[[], ClaimResult]
) -> None:
    """No message fails for it: they wait in order behind a gate, and the integration shows what is wrong."""
    around.answer = InvalidApiKeyError("connect it again with force_recreate")
    verdict = handled()
    assert isinstance(verdict, Postponed)
    assert around.reported == ["connect it again with force_recreate"]
    around.lanes.append(
        routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990003344", text="Other lane"))
    )
    assert around.lanes.claim("send", Slot()) is None, "a lane of this integration was not held"
    assert around.lanes.open_gate(routing.integration_gate(INTEGRATION)) == 1
    assert around.lanes.claim("send", Slot()) is not None


def test_a_number_that_is_not_connected_holds_its_lanes(
    around: Surroundings, handled: Callable[[], ClaimResult]
) -> None:
    """Its messages wait in order for the phone, with that reason; those of other numbers go on."""
    around.answer = NotConnectedError("Account 0000000000042 is not connected")
    verdict = handled()
    assert verdict == Postponed(0, "Account 0000000000042 is not connected")
    around.lanes.append(
        routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990003344", text="Other lane"))
    )
    assert around.lanes.claim("send", Slot()) is None
    around.lanes.append(
        routing.route_send(ORGANIZATION, uuid4(), Message(to="+79990003344", text="Other number"))
    )
    assert around.lanes.claim("send", Slot())
    assert around.lanes.open_gate(routing.integration_gate(INTEGRATION)) == 1


def test_an_open_breaker_holds_every_lane(
    around: Surroundings, handled: Callable[[], ClaimResult]
) -> None:
    """While the platform is down, lanes are parked instead of asked one by one."""
    around.answer = UnavailableError("the platform is in trouble")
    around.breaker_state = BreakerState("open", retry_after_s=30)
    assert isinstance(handled(), Postponed)
    around.lanes.append(
        routing.route_send(
            ORGANIZATION, uuid4(), Message(to="+79990003344", text="Other integration")
        )
    )
    assert around.lanes.claim("send", Slot()) is None


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        (None, "not_found"),
        (ROUTE.model_copy(update={"organization_id": uuid4()}), "not_found"),
        (ROUTE.model_copy(update={"is_enabled": False}), "disabled"),
    ],
)
def test_what_cannot_leave_is_given_up(
    around: Surroundings,
    handled: Callable[[], ClaimResult],
    route: IntegrationRoute | None,
    reason: str,
) -> None:
    """No such number, another organization's, or one that is switched off: a dead letter that says so."""
    around.route = route
    letter: Any = settled(handled()).outcomes[1]
    assert letter.reason == reason


def test_a_message_that_has_expired_is_not_sent(around: Surroundings) -> None:
    """A code that comes too late is worse than none: failed, `expired`, a dead letter; the next one goes out."""
    around.lanes.append(
        routing.route_send(
            ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Code 1", expires_in_s=1)
        )
    )
    around.lanes.append(
        routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Code 2"))
    )
    time.sleep(1.1)

    def handle(claim: Claim) -> ClaimResult:
        return parse_first(SendEvent, send.handle_send)(claim, cast("WorkerContext", around))

    assert not drain(
        around.lanes, "send", handle, parse_first(SendEvent, send.dead_letter_send), Event()
    )
    entries: Any = around.redis.xrange(keys.OUTBOX)
    rows = [json.loads(fields[b"r"]) for _, fields in entries]
    told = {(row["type"], row.get("text"), row.get("status", row.get("reason"))) for row in rows}
    assert told >= {
        ("message", "Code 1", "failed"),
        ("dead_letter", None, "expired"),
        ("message", "Code 2", "sent"),
    }
    assert ("message", "Code 1", "sent") not in told
    assert len(around.left_s) == 1


def test_nothing_is_tried_for_longer_than_the_server_allows(redis_client: redis.Redis) -> None:
    """Whatever the caller asks for."""
    lanes = Lanes(redis_client, EngineSettings(wpp_max_age_s=700, wpp_watch_limit_s=60))
    lanes.append(
        routing.route_send(
            ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Hello", expires_in_s=10_000)
        )
    )
    claim = lanes.claim("send", Slot())
    assert claim
    assert claim.expires_ms - claim.accepted_ms == 700_000

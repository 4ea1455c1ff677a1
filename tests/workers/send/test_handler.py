"""What each result of a call to the platform means for the message that is sent."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import redis

from sandbox.ports import LOCALHOST, free_port
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
from shared.lanes.client import Lanes
from shared.lanes.types import Claim, ClaimResult, ClaimSequence, Postponed, Settled
from shared.outcomes import DeadLetterOutcome, MessageOutcome
from shared.platform.circuit_breaker import BreakerState
from shared.platform.models import SendResult
from shared.redis import keys
from shared.route_cache import IntegrationRoute
from shared.settings import EngineSettings
from tests.draining import drain, parse_first
from workers import runner
from workers.context import WorkerContext
from workers.dead_letters import dead_letter_raw
from workers.send import handler as send
from workers.send.in_doubt import resolve_unknown

ORGANIZATION = uuid4()
INTEGRATION = uuid4()
ROUTE = IntegrationRoute(
    id=INTEGRATION,
    organization_id=ORGANIZATION,
    name="Shop",
    account="0000000000042",
    is_primary=True,
    is_enabled=True,
)


@dataclass
class FakeContext:
    """A WorkerContext with a real Redis; platform, route cache and database answer as set."""

    lanes: Lanes
    answer: SendResult | Exception = field(default_factory=lambda: SendResult("task_1"))
    route: IntegrationRoute | None = ROUTE
    breaker_state: BreakerState = field(default_factory=lambda: BreakerState("closed"))
    engine: EngineSettings = field(default_factory=EngineSettings)
    reported: list[str] = field(default_factory=list)
    contacts: dict[str, str | Exception] = field(default_factory=dict)
    """What Supabase knows of a phone: when it wrote, `known`, or `stranger`, the default."""
    asked: list[str] = field(default_factory=list)
    """Phones that Supabase was asked about."""
    loses_redis: bool = False
    """Redis is away from the call of the platform on."""
    texts: list[str] = field(default_factory=list)
    """Captions that went out after their files."""
    deadlines_s: list[float] = field(default_factory=list)
    """Per call of the platform: the seconds that were left for it."""

    @property
    def route_cache(self) -> "FakeContext":
        return self

    platform = database = integrations = breaker = tokens = pacing = route_cache

    @property
    def redis(self) -> "redis.Redis":
        is_away = self.loses_redis and self.deadlines_s
        return redis.Redis(host=LOCALHOST, port=free_port()) if is_away else self.lanes.client

    def is_refused(self, _account: str) -> bool:
        return isinstance(self.answer, InvalidApiKeyError)

    def find_route(self, _integration_id: UUID) -> IntegrationRoute | None:
        return self.route

    def find_acquaintance(self, _integration_id: UUID, phone: str) -> str:
        self.asked.append(phone)
        contact = self.contacts.get(phone, "stranger")
        if isinstance(contact, Exception):
            raise contact
        return contact

    def as_account(self, account: str) -> "FakeContext":
        assert account == ROUTE.account
        return self

    def send(self, _event: SendEvent) -> SendResult:
        self.deadlines_s.append(remaining())
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def send_text(self, event: SendEvent, text: str) -> SendResult:
        self.texts.append(text)
        return self.send(event)

    def report_error(self, _integration_id: UUID, text: str) -> None:
        self.reported.append(text)

    def state(self, _account: str | None = None) -> BreakerState:
        return self.breaker_state


def handle(claim: Claim, ctx: FakeContext) -> ClaimResult:
    """Call the handler with the event that the claim holds."""
    event = SendEvent.model_validate_json(claim.body)
    return send.handle_send(event, claim, cast("WorkerContext", ctx))


@pytest.fixture
def ctx(redis_client: redis.Redis) -> FakeContext:
    return FakeContext(Lanes(redis_client, EngineSettings()))


@pytest.fixture
def send_one(ctx: FakeContext) -> Callable[[], ClaimResult]:
    """Return a function that enqueues a message, handles it and returns the result."""
    return lambda: handle(claim_message(ctx.lanes), ctx)


def claim_message(lanes: Lanes) -> Claim:
    """Enqueue a message and claim it."""
    lanes.append(
        routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Hello"))
    )
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    return claim


def as_settled(result: ClaimResult) -> Settled:
    assert isinstance(result, Settled)
    return result


def test_a_message_that_the_platform_took_is_settled_as_sent(
    send_one: Callable[[], ClaimResult],
) -> None:
    """The outcome has the platform's task id, which later webhooks refer to."""
    result = as_settled(send_one())
    assert result.state == "sent"
    outcome = cast("MessageOutcome", result.outcomes[0])
    assert (outcome.status, outcome.task_id) == ("sent", "task_1")


@pytest.mark.parametrize(
    "error",
    [NotSentError("no"), UnavailableError("away"), UnauthorizedError("stale token", status=401)],
)
def test_a_message_that_was_proven_not_sent_is_postponed(
    ctx: FakeContext, send_one: Callable[[], ClaimResult], error: PlatformError
) -> None:
    """Only proof that the platform did not take it allows another attempt."""
    ctx.answer = error
    assert isinstance(send_one(), Postponed)


def test_a_rate_limit_postpones_for_as_long_as_the_platform_says(
    ctx: FakeContext, send_one: Callable[[], ClaimResult]
) -> None:
    """The wait is the Retry-After of the 429."""
    ctx.answer = LimitedError("slow down", retry_after_s=70)
    result = send_one()
    assert isinstance(result, Postponed)
    assert result.delay_s == 70
    assert 60_000 < ctx.redis.pttl(keys.gate(routing.integration_gate(INTEGRATION))) <= 70_000


def test_a_refused_message_fails_with_a_dead_letter(
    ctx: FakeContext, send_one: Callable[[], ClaimResult]
) -> None:
    """The outcome has the reason of the refusal; the dead letter has the event."""
    ctx.answer = RefusedError("recipient has no WhatsApp")
    result = as_settled(send_one())
    message, letter = result.outcomes
    assert isinstance(message, MessageOutcome)
    assert isinstance(letter, DeadLetterOutcome)
    assert (result.state, message.status, message.error) == (
        "failed",
        "failed",
        "recipient has no WhatsApp",
    )
    assert (letter.reason, letter.event["text"]) == ("refused", "Hello")


def test_a_location_that_went_out_as_a_link_says_so(
    ctx: FakeContext, send_one: Callable[[], ClaimResult]
) -> None:
    """Its row names the substitute; the next answers of the API name it ahead."""
    ctx.answer = SendResult("task_1", "map_link")
    result = as_settled(send_one())
    outcome = cast("MessageOutcome", result.outcomes[0])
    assert outcome.metadata["substitutes"] == ["map_link"]
    assert ctx.redis.exists(keys.NO_LOCATION_ROUTE)


def test_a_lost_answer_is_settled_as_unknown(
    ctx: FakeContext, send_one: Callable[[], ClaimResult]
) -> None:
    """The message may have been delivered, so it is not sent again."""
    ctx.answer = UnknownEffectError("the connection broke after the request")
    result = as_settled(send_one())
    assert result.state == "unknown"
    assert [cast("MessageOutcome", outcome).status for outcome in result.outcomes] == ["unknown"]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (SendResult("task_1"), "sent"),
        (UnknownEffectError("the connection broke after the request"), "unknown"),
        (RefusedError("recipient has no WhatsApp"), "failed"),
    ],
    ids=["taken", "unknown", "refused"],
)
def test_a_redis_that_is_lost_during_the_call_makes_no_message_look_unsent(
    ctx: FakeContext,
    send_one: Callable[[], ClaimResult],
    answer: SendResult | Exception,
    state: str,
) -> None:
    """What the call meant for its message stands, so it is not sent a second time."""
    ctx.answer = answer
    ctx.loses_redis = True
    assert as_settled(send_one()).state == state


def test_an_internal_error_during_the_call_is_settled_as_unknown(
    ctx: FakeContext, send_one: Callable[[], ClaimResult]
) -> None:
    """The request may have left before the error."""
    ctx.answer = ValueError("unexpected answer")
    assert as_settled(send_one()).state == "unknown"


def test_an_outage_of_supabase_is_raised(
    ctx: FakeContext, send_one: Callable[[], ClaimResult]
) -> None:
    """Without a token the platform was not called; the runner postpones the message."""
    ctx.answer = DatabaseUnavailableError("no answer")
    with pytest.raises(DatabaseUnavailableError):
        send_one()


def test_the_call_ends_with_the_lease(ctx: FakeContext) -> None:
    """A worker that was paused too long has no time left: another worker may have taken over."""
    claim = claim_message(ctx.lanes)
    handle(claim, ctx)
    assert 0 < ctx.deadlines_s[0] <= EngineSettings().wpp_lease_s
    late = Claim(**{**vars(claim), "until_s": time.monotonic() - 1})
    handle(late, ctx)
    assert ctx.deadlines_s[1] < 0


def test_the_resend_policy_postpones_instead_of_unknown(
    ctx: FakeContext, send_one: Callable[[], ClaimResult]
) -> None:
    """The organization accepts duplicates."""
    ctx.answer = UnknownEffectError("the connection broke after the request")
    ctx.route = ROUTE.model_copy(update={"resends_unknown": True})
    assert isinstance(send_one(), Postponed)


def resend(claim: Claim) -> Claim:
    """Return the claim as of a message that was sent again after an unknown delivery."""
    return Claim(**{**vars(claim), "resends": 1})


@pytest.mark.parametrize(
    ("answer", "route"),
    [
        (RefusedError("recipient has no WhatsApp"), ROUTE),
        (SendResult("task_1"), ROUTE.model_copy(update={"is_enabled": False})),
        (SendResult("task_1"), None),
    ],
)
def test_a_resent_message_that_cannot_go_out_ends_as_unknown(
    ctx: FakeContext, answer: SendResult | Exception, route: IntegrationRoute | None
) -> None:
    """Its first attempt may have been delivered: a dead letter would invite a third one."""
    ctx.answer = answer
    ctx.route = route
    result = as_settled(handle(resend(claim_message(ctx.lanes)), ctx))
    assert result.state == "unknown"
    assert [cast("MessageOutcome", outcome).status for outcome in result.outcomes] == ["unknown"]


def test_a_resent_message_that_expires_ends_as_unknown(ctx: FakeContext) -> None:
    """Its policy does not apply: it would be postponed forever."""
    claim = resend(claim_message(ctx.lanes))
    ctx.route = ROUTE.model_copy(update={"resends_unknown": True})
    expired = Claim(**{**vars(claim), "now_ms": claim.expires_ms})
    dead_letter = parse_first(SendEvent, send.dead_letter_send)
    result = as_settled(runner.handle_claim(expired, lambda _: pytest.fail("sent"), dead_letter))
    assert result.state == "unknown"
    assert len(result.outcomes) == 1
    assert as_settled(dead_letter_raw(claim, "unreadable", "of another version")).state == "unknown"


def test_a_message_that_an_operator_sends_again_never_ends_as_failed(ctx: FakeContext) -> None:
    """It may have gone out before it was unknown."""
    ctx.answer = UnknownEffectError("the connection broke after the request")
    claim = claim_message(ctx.lanes)
    ctx.lanes.conclude(claim, handle(claim, ctx))
    assert resolve_unknown(ctx.redis, ctx.lanes, claim.id, "again")
    ctx.answer = RefusedError("recipient has no WhatsApp")
    again = ctx.lanes.claim("send", ClaimSequence())
    assert again
    assert as_settled(handle(again, ctx)).state == "unknown"


def test_a_refused_key_closes_the_gate_of_its_integration(
    ctx: FakeContext, send_one: Callable[[], ClaimResult]
) -> None:
    """Messages wait in order, and the integration shows the error."""
    ctx.answer = InvalidApiKeyError("connect it again with force_recreate")
    result = send_one()
    assert isinstance(result, Postponed)
    assert ctx.reported == ["connect it again with force_recreate"]
    ctx.lanes.append(
        routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990003344", text="Other lane"))
    )
    assert ctx.lanes.claim("send", ClaimSequence()) is None, (
        "a lane of this integration could be claimed"
    )
    assert ctx.lanes.open_gate(routing.integration_gate(INTEGRATION)) == 1
    assert ctx.lanes.claim("send", ClaimSequence()) is not None


def test_an_unlinked_phone_closes_the_gate_of_its_integration(
    ctx: FakeContext, send_one: Callable[[], ClaimResult]
) -> None:
    """Its messages wait with that reason; lanes of further integrations go on."""
    ctx.answer = NotConnectedError("Account 0000000000042 is not connected")
    result = send_one()
    assert isinstance(result, Postponed)
    assert (result.delay_s, result.reason) == (0, "Account 0000000000042 is not connected")
    ctx.lanes.append(
        routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990003344", text="Other lane"))
    )
    assert ctx.lanes.claim("send", ClaimSequence()) is None
    ctx.lanes.append(
        routing.route_send(ORGANIZATION, uuid4(), Message(to="+79990003344", text="Other number"))
    )
    assert ctx.lanes.claim("send", ClaimSequence())
    assert ctx.lanes.open_gate(routing.integration_gate(INTEGRATION)) == 1


def test_an_open_circuit_breaker_closes_the_gate_of_the_platform(
    ctx: FakeContext, send_one: Callable[[], ClaimResult]
) -> None:
    """No lane can be claimed while the platform is down."""
    ctx.answer = UnavailableError("the platform cannot be reached")
    ctx.breaker_state = BreakerState("open", retry_after_s=30)
    assert isinstance(send_one(), Postponed)
    ctx.lanes.append(
        routing.route_send(
            ORGANIZATION, uuid4(), Message(to="+79990003344", text="Other integration")
        )
    )
    assert ctx.lanes.claim("send", ClaimSequence()) is None


def test_an_open_breaker_of_an_account_closes_the_gate_of_its_integration(
    ctx: FakeContext, send_one: Callable[[], ClaimResult]
) -> None:
    """Messages of other integrations can be claimed."""
    ctx.answer = UnavailableError("the account fails")
    ctx.breaker_state = BreakerState("open", retry_after_s=30, scope="account")
    assert isinstance(send_one(), Postponed)
    for integration_id in (INTEGRATION, uuid4()):
        ctx.lanes.append(
            routing.route_send(
                ORGANIZATION, integration_id, Message(to="+79990003344", text="Hello")
            )
        )
    claim = ctx.lanes.claim("send", ClaimSequence())
    assert claim
    assert SendEvent.model_validate_json(claim.body).integration_id != INTEGRATION
    assert ctx.lanes.claim("send", ClaimSequence()) is None


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        (None, "not_found"),
        (ROUTE.model_copy(update={"organization_id": uuid4()}), "not_found"),
        (ROUTE.model_copy(update={"is_enabled": False}), "disabled"),
    ],
)
def test_a_message_without_a_usable_integration_is_a_dead_letter(
    ctx: FakeContext,
    send_one: Callable[[], ClaimResult],
    route: IntegrationRoute | None,
    reason: str,
) -> None:
    """The integration is missing, of another organization, or disabled."""
    ctx.route = route
    letter: Any = as_settled(send_one()).outcomes[1]
    assert letter.reason == reason


def test_a_message_that_has_expired_is_not_sent(ctx: FakeContext) -> None:
    """It becomes a dead letter with the reason `expired`, and the next message goes out."""
    ctx.lanes.append(
        routing.route_send(
            ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Code 1", expires_in_s=1)
        )
    )
    ctx.lanes.append(
        routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Code 2"))
    )
    time.sleep(1.1)

    dead_letter = parse_first(SendEvent, send.dead_letter_send)
    drain(ctx.lanes, "send", lambda claim: handle(claim, ctx), dead_letter)
    entries: Any = ctx.redis.xrange(keys.OUTBOX)
    rows = [json.loads(fields[b"r"]) for _, fields in entries]
    recorded = {
        (row["type"], row.get("text"), row.get("status", row.get("reason"))) for row in rows
    }
    assert recorded >= {
        ("message", "Code 1", "failed"),
        ("dead_letter", None, "expired"),
        ("message", "Code 2", "sent"),
    }
    assert ("message", "Code 1", "sent") not in recorded
    assert len(ctx.deadlines_s) == 1


def test_a_message_expires_after_the_maximum_age_at_the_latest(redis_client: redis.Redis) -> None:
    """WPP_MAX_AGE_S bounds the expiry that the caller asks for."""
    lanes = Lanes(redis_client, EngineSettings(wpp_max_age_s=700, wpp_watch_limit_s=60))
    lanes.append(
        routing.route_send(
            ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Hello", expires_in_s=10_000)
        )
    )
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    assert claim.expires_ms - claim.accepted_ms == 700_000

"""What becomes of a claim: what its handler returns, or raises."""

import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
import structlog
from dramatiq import Message as DramatiqMessage

from shared import routing
from shared.errors import DatabaseUnavailableError
from shared.events import (
    QUEUE_NAMES,
    CallbackEvent,
    Event,
    MediaEvent,
    Message,
    ProvisionEvent,
    QueueName,
    SendEvent,
    WebhookEvent,
    utc_now,
)
from shared.lanes import watchdog
from shared.lanes.client import Lanes
from shared.lanes.exchange import CONCLUDE_RETRY_S
from shared.lanes.message import LaneMessage
from shared.lanes.records import find_record
from shared.lanes.types import Append, Claim, ClaimResult, ClaimSequence, Postponed, Settled
from shared.lanes.wire import dump_model
from shared.outcomes import DeadLetterOutcome, SessionOutcome
from shared.redis import keys
from shared.redis.client import RETRIES, SOCKET_TIMEOUT_S
from shared.settings import EngineSettings
from tests.draining import drain, parse_first
from workers import media
from workers import runner as draining
from workers.broker import TIME_LIMIT_MS
from workers.dead_letters import dead_letter_raw
from workers.provision import handler as provision
from workers.runner import handle_claim
from workers.send import handler as send
from workers.webhook import handler as webhook

ORGANIZATION, INTEGRATION = uuid4(), uuid4()


@pytest.fixture
def lanes(redis_client: redis.Redis) -> Lanes:
    return Lanes(redis_client, EngineSettings())


def accept(lanes: Lanes, text: str, to: str = "+79990001122") -> UUID:
    return lanes.append(routing.route_send(ORGANIZATION, INTEGRATION, Message(to=to, text=text))).id


def give_up(_claim: Claim, reason: str, detail: str) -> ClaimResult:
    return Settled("failed", fields={"reason": f"{reason}: {detail}"})


def done(_claim: Claim) -> Settled:
    return Settled("sent")


def test_an_outage_of_supabase_postpones(lanes: Lanes, redis_client: redis.Redis) -> None:
    """What needs Supabase waits for it, for as long as the event may wait."""
    event_id = accept(lanes, "Hello")

    def away(_claim: Claim) -> ClaimResult:
        msg = "no answer"
        raise DatabaseUnavailableError(msg)

    drain(lanes, "send", away, give_up)
    record = find_record(redis_client, event_id)
    assert record
    assert (record.state, record.reason) == ("queued", "database_unavailable: no answer")


def claim_run(lanes: Lanes, texts: Sequence[str]) -> LaneMessage:
    """Return a message; its claim is for events with these texts."""
    lanes.runs["webhook"] = len(texts)
    for text in texts:
        lanes.append(Append(uuid4(), "webhook", "x", "a", text))
    claim = lanes.claim("webhook", ClaimSequence())
    assert claim
    return LaneMessage(DramatiqMessage("webhook", "any", (), {}, {}), claim, lanes.settings)


def text_of(claim: Claim) -> str:
    return claim.body.decode()


def run_ends(message: LaneMessage) -> list[str]:
    """Return the texts of all events that end with a claim."""
    assert isinstance(message.end, Settled)
    return [text_of(claim) for claim in (message.claim, *(claim for claim, _ in message.end.run))]


def test_events_behind_a_claimed_one_are_handled_with_it(lanes: Lanes) -> None:
    message = claim_run(lanes, "abc")
    draining.conclude_message(message, done, give_up, done)
    assert run_ends(message) == ["a", "b", "c"]


def test_an_actor_that_handles_single_events_leaves_the_others(lanes: Lanes) -> None:
    message = claim_run(lanes, "abc")
    draining.conclude_message(message, done, give_up)
    assert run_ends(message) == ["a"]


@pytest.mark.parametrize("raises", [True, False])
def test_an_event_that_needs_its_own_claim_ends_the_run(lanes: Lanes, *, raises: bool) -> None:
    """An error counts under the own claim of an event, and is logged then."""

    def stop_at_c(claim: Claim) -> Settled | None:
        if text_of(claim) != "c":
            return Settled("sent")
        if raises:
            raise RuntimeError
        return None

    message = claim_run(lanes, "abcd")
    with structlog.testing.capture_logs() as logs:
        draining.conclude_message(message, done, give_up, stop_at_c)
    assert (run_ends(message), logs) == (["a", "b"], [])


def test_a_postponed_event_is_followed_by_none(lanes: Lanes) -> None:
    def away(_claim: Claim) -> ClaimResult:
        raise redis.ConnectionError

    def fail(_claim: Claim) -> Settled:
        pytest.fail("it was handled before the one in front of it")

    message = claim_run(lanes, "ab")
    draining.conclude_message(message, away, give_up, fail)
    assert isinstance(message.end, Postponed)


def test_a_run_ends_after_a_while(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow events are claimed singly."""
    monkeypatch.setattr(draining, "MAX_RUN_S", 0)
    message = claim_run(lanes, "ab")
    draining.conclude_message(message, done, give_up, done)
    assert run_ends(message) == ["a"]


def test_a_run_with_an_outcome_that_is_no_json_is_left(lanes: Lanes) -> None:
    half = SessionOutcome(at=utc_now(), account="a", status="connected", reason="\ud83d")
    message = claim_run(lanes, "ab")
    draining.conclude_message(message, done, give_up, lambda _claim: Settled("sent", [half]))
    assert run_ends(message) == ["a"]


UNABLE = [
    redis.ConnectionError("away"),
    redis.TimeoutError("away"),
    redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    redis.ReadOnlyError("You can't write against a read only replica."),
    redis.ResponseError(
        "MISCONF Redis is configured to save RDB snapshots, but it is unable to persist to disk."
    ),
]


@pytest.mark.parametrize("error", UNABLE)
def test_an_outage_of_redis_postpones_what_was_tried_often(lanes: Lanes, error: Exception) -> None:
    """A message held back for an hour by a limit does not fail when Redis restarts."""
    accept(lanes, "Hello")

    def away(_claim: Claim) -> ClaimResult:
        raise error

    claim = lanes.claim("send", ClaimSequence())
    assert claim
    assert isinstance(
        handle_claim(Claim(**{**vars(claim), "attempts": 1000}), away, give_up), Postponed
    )


def test_a_surprise_is_tried_again_and_given_up_at_last(lanes: Lanes) -> None:
    """An unexpected error costs its own event a few attempts, and nothing else."""
    accept(lanes, "Hello")

    def broken(_claim: Claim) -> ClaimResult:
        msg = "surprise"
        raise RuntimeError(msg)

    claim = lanes.claim("send", ClaimSequence())
    assert claim
    assert isinstance(handle_claim(claim, broken, give_up), Postponed)
    last = Claim(**{**vars(claim), "unexpected_errors": draining.MAX_UNEXPECTED_ERRORS - 1})
    verdict = handle_claim(last, broken, give_up)
    assert isinstance(verdict, Settled)
    assert verdict.fields["reason"] == "internal_error: RuntimeError: surprise"


def test_only_surprises_count_as_such(lanes: Lanes, redis_client: redis.Redis) -> None:
    """An event that a limit held back for hours has all its tries for unexpected errors."""
    accept(lanes, "Hello")

    def broken(_claim: Claim) -> ClaimResult:
        msg = "surprise"
        raise RuntimeError(msg)

    def once_more(handler: Callable[[Claim], ClaimResult]) -> Claim:
        postponed: Any = redis_client.zrange(keys.delayed("send"), 0, -1)
        for lane in postponed:
            redis_client.zadd(keys.delayed("send"), {lane: 1})
        lanes.sweep("send")
        claim = lanes.claim("send", ClaimSequence())
        assert claim
        lanes.conclude(claim, handle_claim(claim, handler, give_up))
        return claim

    for _ in range(3 * draining.MAX_UNEXPECTED_ERRORS):
        assert once_more(lambda _claim: Postponed(60, "limited")).unexpected_errors == 0
    assert [once_more(broken).unexpected_errors for _ in range(3)] == [0, 1, 2]
    assert once_more(lambda _claim: Postponed(60, "limited")).unexpected_errors == 3
    assert once_more(broken).unexpected_errors == 3


GIVE_UP: dict[QueueName, draining.DeadLetterHandler] = {
    "send": parse_first(SendEvent, send.dead_letter_send),
    "provision": parse_first(ProvisionEvent, provision.dead_letter_provision),
    "webhook": parse_first(WebhookEvent, webhook.dead_letter_webhook),
    "media": parse_first(MediaEvent, media.dead_letter_media),
    "callback": dead_letter_raw,
}
READ: dict[QueueName, type[Event]] = {
    "send": SendEvent,
    "provision": ProvisionEvent,
    "webhook": WebhookEvent,
    "media": MediaEvent,
    "callback": CallbackEvent,
}
BODIES = [
    (
        '{"v": 2, "id": "00000000-0000-4000-8000-000000000001",'
        ' "organization_id": "00000000-0000-4000-8000-000000000002"}'
    ),
    '{"half of a pair": "\\ud800"}',
    "[]",
    "no JSON",
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", QUEUE_NAMES)
def test_what_cannot_be_read_ends_as_a_dead_letter_and_costs_only_itself(
    lanes: Lanes, redis_client: redis.Redis, kind: QueueName, body: str
) -> None:
    """After as many tries as any unexpected error: a newer worker may succeed. The next goes on."""
    event = WebhookEvent(id=uuid4(), account="0000000000042", payload={"type": "connected"})
    for each in (event, event.model_copy(update={"id": uuid4()})):
        lanes.append(Append(each.id, kind, "x", "one", dump_model(each)))
    redis_client.hset(
        keys.event(event.id),
        mapping={"body": body, "unexpected_errors": draining.MAX_UNEXPECTED_ERRORS - 1},
    )

    def read(claim: Claim) -> ClaimResult:
        READ[kind].model_validate_json(claim.body)
        return Settled("done")

    drain(
        lanes,
        kind,
        lambda claim: read(claim) if claim.id == event.id else Settled("done"),
        GIVE_UP[kind],
    )
    told: Any = redis_client.xrange(keys.OUTBOX)
    [[_, fields]] = told
    letter = DeadLetterOutcome.model_validate_json(fields[b"r"])
    assert (letter.id, letter.kind, letter.lane, letter.reason) == (
        event.id,
        kind,
        "x",
        "internal_error",
    )
    assert letter.event in (json.loads(body) if body.startswith("{") else None, {"raw": body})
    assert letter.organization_id == (
        UUID(int=0x40008000000000000002) if "organization_id" in body else None
    )
    record = find_record(redis_client, event.id)
    assert record
    assert record.state == "failed"
    assert not redis_client.exists(keys.lane("x"))


def test_what_cannot_be_read_ends_when_it_is_too_old(lanes: Lanes) -> None:
    """As work that could not be done in time; not an attempt later."""
    accept(lanes, "Hello")
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    late = Claim(**{**vars(claim), "now_ms": claim.expires_ms, "body": b"no JSON"})
    verdict = handle_claim(late, done, parse_first(SendEvent, send.dead_letter_send))
    assert isinstance(verdict, Settled)
    [letter] = verdict.outcomes
    assert isinstance(letter, DeadLetterOutcome)
    assert (letter.reason, letter.event) == ("expired", {"raw": "no JSON"})


def test_a_verdict_that_cannot_be_written_down_ends_as_a_dead_letter(
    lanes: Lanes, redis_client: redis.Redis
) -> None:
    """Trying again would change nothing; nobody knows whether a message has gone out."""
    event_id = accept(lanes, "Hello")
    odd = SessionOutcome(
        at=utc_now(), account="a", status="connected", reason="half of a pair: \ud800"
    )
    drain(lanes, "send", lambda _claim: Settled("sent", [odd]), give_up)
    record = find_record(redis_client, event_id)
    assert record
    assert record.state == "unknown"
    told: Any = redis_client.xrange(keys.OUTBOX)
    assert [json.loads(fields[b"r"])["type"] for _, fields in told] == ["message", "dead_letter"]


def test_an_expired_event_is_given_up_with_the_last_reason(lanes: Lanes) -> None:
    """What could not be done in time is not done late; the reason is the one that it waited for."""
    accept(lanes, "Hello")
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    late = Claim(**{**vars(claim), "now_ms": claim.expires_ms, "reason": "limited"})
    verdict = handle_claim(late, done, give_up)
    assert isinstance(verdict, Settled)
    assert verdict.fields["reason"] == "expired: could not be done in time; last reason: limited"


def test_times_nest() -> None:
    """A result is offered until shortly before the watchdog ends the process."""
    longest_call_s = (SOCKET_TIMEOUT_S + 0.5) * (RETRIES + 1)
    offered_s = CONCLUDE_RETRY_S + longest_call_s
    assert offered_s < watchdog.LIMIT_S
    assert EngineSettings().wpp_lease_s + offered_s < TIME_LIMIT_MS / 1000

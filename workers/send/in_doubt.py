"""Messages with an unknown delivery: the call to the platform ended without a usable answer.

They are not sent again without proof, because the recipient may have them already. An echo
of the phone, the platform's reports, an operator, the CRM or the organization's policy resolves
it.
"""

from datetime import timedelta
from typing import Literal
from uuid import UUID

import redis
from pydantic import ValidationError

from shared import routing
from shared.events import SendEvent, utc_now
from shared.lanes.client import Lanes
from shared.lanes.records import Record, find_record, record_key
from shared.lanes.types import Claim, ClaimResult, Postponed, Settled
from shared.outcomes import ContentType, MessageOutcome, Outcome
from shared.platform.payloads import build_caption, compose_text
from shared.route_cache import IntegrationRoute
from shared.transitions import tell
from workers.dead_letters import build_dead_letter
from workers.retry import EVENT_BACKOFF
from workers.send.captions import IN_DOUBT, make_caption_event
from workers.send.matching import Proof

ECHO_WINDOW = timedelta(minutes=10)
"""How long after a message became unknown an echo still proves it.

A linked phone reports in seconds, and a late webhook carries its time. An echo with the same text
after that is another message, typed on the phone.
"""

CLOCK_SKEW = timedelta(minutes=1)
"""How far the platform's clock may be behind ours."""

MAX_RESENDS = 2
"""Resends by policy per message, for a platform that loses every answer."""

Resolution = Literal["sent", "failed", "again"]
"""What resolves a message: it was sent, it was not, or it is to be sent again."""


def settle_as_unknown(
    event: SendEvent, claim: Claim, reason: str, route: IntegrationRoute | None
) -> ClaimResult:
    """Settle a message as unknown, or postpone it where the organization's policy is to resend."""
    if route and route.resends_unknown and claim.resends < MAX_RESENDS:
        return Postponed(
            EVENT_BACKOFF.after(claim.attempts),
            f"delivery unknown, sent again by the organization's policy: {reason}",
            fields={"resends": str(claim.resends + 1)},
        )
    return _settle(event, f"{IN_DOUBT}: {reason}" if claim.file_task else reason)


def settle_resent(event: SendEvent, reason: str) -> Settled:
    """Settle a message as unknown after its last attempt failed: an earlier try may be out."""
    return _settle(event, f"an earlier attempt may have been delivered; the last one: {reason}")


def _settle(event: SendEvent, reason: str) -> Settled:
    outcome = routing.build_message_outcome(event, "unknown", utc_now(), error=reason)
    return Settled("unknown", [outcome], {"reason": reason})


def resolve_unknown(
    client: "redis.Redis",
    lanes: Lanes,
    event_id: UUID,
    resolution: Resolution,
    by: str | None = None,
    operator: str | None = None,
) -> bool:
    """Resolve a message; return False where its delivery is not unknown, or no longer.

    `by` identifies the request. A repeated request returns True and has no effect, even if the
    state of the message has changed since. `operator`: who resolves it; its record names them.
    """
    request_field = f"resolution:{by}"
    if by and client.hexists(record_key(event_id), request_field):
        return True
    record = find_record(client, event_id)
    if record is None or record.state != "unknown" or record.body is None:
        return False
    fields: dict[str, str] = {request_field: resolution} if by else {}
    fields |= {"settled_by": operator} if operator else {}
    if resolution == "again":
        resolved = lanes.resolve(event_id, Settled("queued", fields=fields))
    else:
        event = _parse_event(record)
        if event is None:
            return False
        ended = routing.build_message_outcome(event, resolution, utc_now())
        outcomes: list[Outcome] = [ended]
        if resolution == "failed":
            detail = "delivery was unknown; settled as failed by an operator or the CRM"
            fields |= {"reason": detail, "code": "settled"}
            left = make_caption_event(event) if record.file_task else event
            outcomes = [
                ended.model_copy(update={"error": detail, "code": "settled"}),
                build_dead_letter(left, record, "settled", detail),
            ]
        resolved = lanes.resolve(event_id, Settled(resolution, outcomes, fields))
    if resolved:
        tell("message.resolved", event_id=event_id, organization_id=record.tenant, state=resolution)
    return resolved or bool(by and client.hexists(record_key(event_id), request_field))


def settle_proven(
    client: "redis.Redis", lanes: Lanes, lane: str, echo: MessageOutcome
) -> UUID | None:
    """Settle as sent the message that an echo of the phone proves; return its id.

    An echo proves the oldest unknown message with the same text and type of content, at about the
    same time. It proves no message without a text, as two pictures look the same.
    """
    records = [
        record
        for event_id in lanes.unknown_events(lane)
        if (record := find_record(client, event_id))
    ]
    for record in sorted(records, key=lambda record: record.accepted):
        event = _parse_event(record)
        if event and _proves(echo, event, record):
            outcome = routing.build_message_outcome(
                event, "sent", utc_now(), wa_message_id=echo.wa_message_id
            )
            if lanes.resolve(record.id, Settled("sent", [outcome])):
                about = {"event_id": record.id, "organization_id": record.tenant}
                tell("message.resolved", state="sent", by="an echo of the phone", **about)
                return record.id
    return None


def settle_reported(client: "redis.Redis", lanes: Lanes, proof: Proof) -> bool:
    """Settle as sent the message that the platform's reports prove; False: it is settled already.

    The reports, which wait for a message with their ids, then apply to it.
    """
    record = find_record(client, proof.message_id)
    event = _parse_event(record) if record and record.state == "unknown" else None
    if event is None:
        return False
    ids = {"task_id": proof.task_id, "wa_message_id": proof.wa_message_id}
    outcome = routing.build_message_outcome(event, "sent", utc_now(), **ids)
    fields = {"task_id": proof.task_id} if proof.task_id else {}
    return lanes.resolve(proof.message_id, Settled("sent", [outcome], fields))


def _proves(echo: MessageOutcome, event: SendEvent, record: Record) -> bool:
    text, content = _describe_on_phone(event, record)
    if not text.strip() or (text, content) != (echo.text, echo.content):
        return False
    earliest = record.accepted - CLOCK_SKEW
    latest = (record.settled or record.accepted) + ECHO_WINDOW
    return earliest <= echo.at <= latest


def _describe_on_phone(event: SendEvent, record: Record) -> tuple[str, ContentType]:
    """Return text and content of what may have gone out, as an echo of the phone has them."""
    caption = build_caption(event)
    if record.file_task:
        return caption, "text"
    if event.contact:
        return compose_text(event), "text"
    shown = routing.build_message_outcome(event, "unknown", record.accepted)
    return "" if caption else compose_text(event) or shown.text, shown.content


def _parse_event(record: Record) -> SendEvent | None:
    """Return the event of a record; None where its body is gone or of an unknown version."""
    try:
        return SendEvent.model_validate_json(record.body or b"")
    except ValidationError:
        return None

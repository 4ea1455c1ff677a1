"""What becomes of an event whose worker, or whose record, vanished: the policy of the sweeper."""

from collections.abc import Sequence

from pydantic import ValidationError

from shared.events import QUEUE_NAMES, SendEvent, utc_now
from shared.lanes.client import Lanes
from shared.lanes.sweeper import Sweeper, run_again
from shared.lanes.types import Claim, ClaimResult, LostEvent
from shared.outcomes import DeadLetterOutcome, MessageOutcome, Outcome
from shared.route_cache import RouteCache
from workers.dead_letters import dead_letter_raw, parse_uuid
from workers.send.in_doubt import settle_as_unknown
from workers.telling import tell_end

VANISHED = "the worker stopped during the call to the platform"
RECORD_LOST = "its record in Redis is missing, so it cannot be done or replayed"


def event_sweeper(lanes: Lanes, routes: RouteCache) -> Sweeper:
    """Return the sweeper of all queues, which tells what it ends."""
    lanes.on_concluded = tell_end
    return Sweeper(lanes, QUEUE_NAMES, lambda claim: take_over(claim, routes), describe_lost)


def take_over(claim: Claim, routes: RouteCache) -> ClaimResult:
    """Return the end of a claim whose lease has ended.

    A send may have gone out: its effect is unknown. Every other event may be done again.
    """
    if claim.queue != "send":
        return run_again(claim)
    try:
        event = SendEvent.model_validate_json(claim.body)
    except ValidationError:  # its worker was of another version
        return dead_letter_raw(claim, "unreadable", VANISHED, "unknown")
    return settle_as_unknown(event, claim, VANISHED, routes.find_route(event.integration_id))


def describe_lost(lost: LostEvent) -> Sequence[Outcome]:
    """Return a dead letter of what is known of an event, and of a message its row as `unknown`.

    The lane of a message names its integration and its recipient. Supabase knows of a message that
    is unknown already.
    """
    if lost.why == "too many unknown":
        return []
    now = utc_now()
    owned = lost.queue in {"send", "provision"}
    letter = DeadLetterOutcome(
        at=now,
        id=lost.id,
        organization_id=parse_uuid(lost.tenant) if owned else None,
        account=None if owned else lost.tenant,
        kind=lost.queue,
        lane=lost.lane,
        reason="record_lost",
        detail=RECORD_LOST,
        attempts=0,
        accepted_at=now,
        event={},
    )
    _, integration, phone = (*lost.lane.split(":"), "", "")[:3]
    integration_id = parse_uuid(integration)
    if lost.queue != "send" or not letter.organization_id or not integration_id:
        return [letter]
    row = MessageOutcome(
        at=now,
        id=lost.id,
        organization_id=letter.organization_id,
        integration_id=integration_id,
        outgoing=True,
        phone=phone,
        status="unknown",
        error=RECORD_LOST,
    )
    return [row, letter]

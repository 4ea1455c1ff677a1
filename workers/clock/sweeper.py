"""What becomes of an event whose worker, or whose record, vanished: the policy of the sweeper."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from shared.events import QUEUE_NAMES, ChangeEvent, SendEvent, is_change, utc_now
from shared.lanes.client import Lanes
from shared.lanes.sweeper import (
    MAX_LOST_LEASES,
    WORKER_STOPPED,
    Sweeper,
    explain_lost_leases,
    run_again,
)
from shared.lanes.types import Claim, ClaimResult, LostEvent
from shared.outcomes import DeadLetterOutcome, MessageOutcome, Outcome
from shared.route_cache import RouteCache
from workers.dead_letters import dead_letter_raw, parse_uuid
from workers.event_codec import ACTORS
from workers.media import dead_letter_media
from workers.provision.handler import dead_letter_provision
from workers.send.changes import settle_in_doubt
from workers.send.in_doubt import settle_as_unknown
from workers.telling import tell_end

VANISHED = "the worker stopped during the call to the platform"
RECORD_LOST = "its record in Redis is missing, so it cannot be done or replayed"
DEAD_LETTERS: dict[str, Callable[[Any, Claim, str, str], ClaimResult]] = {
    "provision": dead_letter_provision,
    "media": dead_letter_media,
}
"""By queue: the end of an event that may have stopped its workers.

Not for webhooks: their dead letter reads the payload, which may stop the clock as well.
"""


def event_sweeper(lanes: Lanes, routes: RouteCache) -> Sweeper:
    """Return the sweeper of all queues, which tells what it ends."""
    lanes.on_concluded = tell_end
    return Sweeper(lanes, QUEUE_NAMES, lambda claim: take_over(claim, routes), describe_lost)


def take_over(claim: Claim, routes: RouteCache) -> ClaimResult:
    """Return the end of a claim whose lease has ended.

    A send may have gone out: its effect is unknown. Every other event may be done again, until
    it has cost `MAX_LOST_LEASES` workers: then it ends as a dead letter.
    """
    if claim.queue != "send":
        give_up = claim.lost_leases >= MAX_LOST_LEASES
        return dead_letter_lost(claim) if give_up else run_again(claim)
    if is_change(claim.body):
        return take_over_change(claim)
    try:
        event = SendEvent.model_validate_json(claim.body)
    except ValidationError:  # its worker was of another version
        return dead_letter_raw(claim, "unreadable", VANISHED, "unknown")
    reason = VANISHED
    if claim.lost_leases > 1:
        reason += f" ({claim.lost_leases} times in a row)"
    return settle_as_unknown(event, claim, reason, routes.find_route(event.integration_id))


def dead_letter_lost(claim: Claim) -> ClaimResult:
    """Return the dead letter of an event that may have stopped its workers."""
    detail = explain_lost_leases(claim)
    if build := DEAD_LETTERS.get(claim.queue):
        with suppress(ValidationError):  # its worker was of another version
            event = ACTORS[claim.queue][1].model_validate_json(claim.body)
            return build(event, claim, WORKER_STOPPED, detail)
    return dead_letter_raw(claim, WORKER_STOPPED, detail)


def take_over_change(claim: Claim) -> ClaimResult:
    """Return the end of a change whose lease has ended: only an edit may not be done again."""
    try:
        event = ChangeEvent.model_validate_json(claim.body)
    except ValidationError:
        return dead_letter_raw(claim, "unreadable", VANISHED)
    if event.action == "edit":
        return settle_in_doubt(VANISHED)
    give_up = claim.lost_leases >= MAX_LOST_LEASES
    return dead_letter_lost(claim) if give_up else run_again(claim)


def describe_lost(lost: LostEvent) -> Sequence[Outcome]:
    """Return a dead letter of what is known of an event, and of a message its row as `unknown`.

    The lane of a message names its integration and its recipient. Supabase knows of a message that
    is unknown already.
    """
    if lost.why == "too many unknown":
        return []
    now = utc_now()
    owned = lost.queue in {"send", "provision", "callback"}
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

"""What becomes of an event whose worker vanished: the policy of the lanes' sweeper."""

from pydantic import ValidationError

from shared.events import QUEUE_NAMES, SendEvent
from shared.lanes.client import Lanes
from shared.lanes.sweeper import Sweeper, run_again
from shared.lanes.types import Claim, ClaimResult
from shared.route_cache import RouteCache
from workers.dead_letters import dead_letter_raw
from workers.send.in_doubt import settle_as_unknown

VANISHED = "the worker stopped during the call to the platform"


def event_sweeper(lanes: Lanes, routes: RouteCache) -> Sweeper:
    """Return the sweeper of all queues."""
    return Sweeper(lanes, QUEUE_NAMES, lambda claim: take_over(claim, routes))


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

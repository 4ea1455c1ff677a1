"""Webhooks: what the platform told, turned into the outcomes that Supabase is given."""

from shared import inbound, intake
from shared.events import WebhookEvent
from shared.lanes import Claim, Settled, Verdict
from shared.outcomes import MessageOutcome, Outcome
from workers import unknown
from workers.dead_letters import dead_letter
from workers.services import Services


def handle(claim: Claim, here: Services) -> Verdict:
    """Turn one event into outcomes."""
    event = WebhookEvent.model_validate_json(claim.body)
    arrival = inbound.describe(event.payload, event.account, event.accepted_at)
    outcomes = inbound.outcomes(arrival, event)
    if arrival.type == "echo" and arrival.peer:
        outcomes = _without_own(outcomes, arrival.peer, here)
    return Settled("done", outcomes)


def _without_own(outcomes: list[Outcome], peer: str, here: Services) -> list[Outcome]:
    """Leave out the echo of a message of ours whose effect was unknown: it proves that one, and is no second."""
    return [
        outcome for outcome in outcomes if not (isinstance(outcome, MessageOutcome) and _proves(outcome, peer, here))
    ]


def _proves(echo: MessageOutcome, peer: str, here: Services) -> bool:
    route = here.directory.of_account(echo.account) if echo.account else None
    if route is None:
        return False
    lane = intake.send_lane(route.id, peer)
    return unknown.proven(here.redis, here.lanes, lane, echo.text, echo.wa_message_id) is not None


def give_up(claim: Claim, reason: str, detail: str) -> Verdict:
    event = WebhookEvent.model_validate_json(claim.body)
    return Settled("failed", [dead_letter(event, claim, reason, detail)], {"reason": detail})

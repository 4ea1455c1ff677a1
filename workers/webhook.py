"""Webhooks: what the platform told, turned into the outcomes that Supabase is given."""

from shared import inbound
from shared.events import WebhookEvent
from shared.lanes import Claim, Settled, Verdict
from workers.dead_letters import dead_letter
from workers.services import Services


def handle(claim: Claim, _here: Services) -> Verdict:
    event = WebhookEvent.model_validate_json(claim.body)
    arrival = inbound.describe(event.payload, event.account, event.accepted_at)
    return Settled("done", inbound.outcomes(arrival, event))


def give_up(claim: Claim, reason: str, detail: str) -> Verdict:
    event = WebhookEvent.model_validate_json(claim.body)
    return Settled("failed", [dead_letter(event, claim, reason, detail)], {"reason": detail})

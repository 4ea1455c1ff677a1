"""An event of the platform on its way in, as the ingress and a worker take it."""

from datetime import UTC, datetime
from typing import Any

from shared import routing, webhooks
from shared.events import WebhookEvent
from shared.outcomes import Outcome

ACCOUNT = "0000000000042"
ACCEPTED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def identity(payload: dict[str, Any], accepted_at: datetime = ACCEPTED) -> str:
    return webhooks.classify_event(payload, ACCOUNT, accepted_at).identity


def arrive(
    payload: dict[str, Any], account: str = ACCOUNT
) -> tuple[webhooks.ClassifiedEvent, list[Outcome]]:
    """Return what arrived and what Supabase is told of it; the event travels as JSON, as it does between processes."""
    arrival = webhooks.classify_event(payload, account, ACCEPTED)
    event = WebhookEvent(
        id=routing.make_event_id(account, arrival.identity),
        accepted_at=ACCEPTED,
        account=account,
        peer=arrival.conversation,
        payload=payload,
    )
    read_again = WebhookEvent.model_validate_json(event.model_dump_json())
    return arrival, webhooks.build_outcomes(
        webhooks.classify_event(read_again.payload, account, ACCEPTED), read_again
    )

"""Interpret an event of the platform in the steps that the ingress and a worker take."""

from datetime import UTC, datetime
from typing import Any

from shared import routing, webhooks
from shared.events import WebhookEvent, utc_now
from shared.lanes.types import Append
from shared.outcomes import Outcome
from shared.webhooks import ClassifiedEvent

ACCOUNT = "0000000000042"
ACCEPTED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def classify(
    raw: dict[str, Any], account: str = ACCOUNT, accepted_at: datetime = ACCEPTED
) -> ClassifiedEvent:
    """Parse and classify an event."""
    return webhooks.classify_event(webhooks.parse_payload(raw), account, accepted_at)


def identity(raw: dict[str, Any], accepted_at: datetime = ACCEPTED) -> str:
    """Return the identity of an event."""
    return webhooks.identify_event(classify(raw, accepted_at=accepted_at)).value


def interpret(raw: dict[str, Any], account: str = ACCOUNT) -> tuple[ClassifiedEvent, list[Outcome]]:
    """Return an event and its outcomes. It travels as JSON, as it does between processes."""
    accepted = classify(raw, account)
    event = WebhookEvent(
        id=routing.make_webhook_id(account, webhooks.identify_event(accepted).value),
        accepted_at=ACCEPTED,
        account=account,
        peer=accepted.conversation,
        payload=raw,
    )
    received = WebhookEvent.model_validate_json(event.model_dump_json())
    return accepted, webhooks.build_outcomes(classify(received.payload, account), received.id)


def route(
    raw: dict[str, Any], account: str, blobs: tuple[str, ...] = (), whole: str | None = None
) -> Append:
    """Return the append of an event that arrives now."""
    event = classify(raw, account, utc_now())
    identity = webhooks.identify_event(event)
    return routing.route_webhook(account, raw, identity.value, event.conversation, blobs, whole)

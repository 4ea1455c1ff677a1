"""Dead letters: whatever ends without success, kept whole with its reason."""

from shared.events import ProvisionEvent, SendEvent, WebhookEvent, utc_now
from shared.lanes import Claim
from shared.outcomes import DeadLetterOutcome


def dead_letter(
    event: SendEvent | ProvisionEvent | WebhookEvent, claim: Claim, reason: str, detail: str
) -> DeadLetterOutcome:
    """Return the dead letter of an event: `reason` is one word to search by, `detail` a sentence to act on."""
    return DeadLetterOutcome(
        at=utc_now(),
        id=event.id,
        organization_id=None if isinstance(event, WebhookEvent) else event.organization_id,
        account=event.account if isinstance(event, WebhookEvent) else None,
        kind=event.kind,
        lane=claim.lane,
        reason=reason,
        detail=detail,
        attempts=claim.attempts,
        accepted_at=event.accepted_at,
        event=event.model_dump(mode="json", exclude_none=True),
    )

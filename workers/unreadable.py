"""Events that cannot be read here: a newer version wrote them, or nobody did. They end alone, and whole."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from shared.events import utc_now
from shared.lanes.client import Claim, Settled, State
from shared.outcomes import DeadLetterOutcome


def describe_error(error: Exception) -> str:
    """Return what an error says, without what was written where that could not be read."""
    if isinstance(error, ValidationError):
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        return "cannot be read: " + "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in faults
        )
    return f"{type(error).__name__}: {error}"


def dead_letter_raw(claim: Claim, reason: str, detail: str, state: State = "failed") -> Settled:
    """End an event that cannot be read here with a dead letter of its raw JSON."""
    raw = claim.body.decode(errors="replace")
    try:
        event = json.loads(raw)
        json.dumps(event, ensure_ascii=False).encode()
    except ValueError:  # no JSON, or half of a surrogate pair in it
        event = None
    if not isinstance(event, dict):
        event = {"raw": raw}
    letter = DeadLetterOutcome(
        at=utc_now(),
        id=claim.id,
        organization_id=_uuid(event.get("organization_id")),
        account=account if isinstance(account := event.get("account"), str) else None,
        kind=claim.kind,
        lane=claim.lane,
        reason=reason,
        detail=detail,
        attempts=claim.attempts,
        accepted_at=datetime.fromtimestamp(claim.accepted_ms / 1000, UTC),
        event=event,
    )
    return Settled(state, [letter], {"reason": detail, "code": reason})


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value)
    except (AttributeError, TypeError, ValueError):
        return None

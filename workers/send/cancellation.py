"""Take back a message that waits, for its turn or for its date."""

from pydantic import ValidationError

from shared import routing
from shared.events import SendEvent, is_change, utc_now
from shared.lanes.client import Lanes
from shared.lanes.records import Record
from shared.lanes.types import Settled
from shared.outcomes import Outcome
from shared.transitions import tell

CANCELLED = "cancelled"
REASON = "cancelled before it was sent"
REFUSED = {
    "claimed": "it is being sent at this moment",
    "begun": "its file has gone out, and its text follows",
    "resent": "it is sent once more, and may have gone out before",
}
"""Why a message cannot be cancelled, by the answer of the lanes; any other answer is its status."""


def cancel_waiting(record: Record, tenant: str, lanes: Lanes) -> str:
    """Cancel a message of a tenant; return the answer of `Lanes.cancel`. It blocks.

    Its row becomes `failed`, with this reason. Cancelling it again changes nothing. Either this
    call or a worker gets the message: after `ok`, it is never sent.
    """
    end = Settled("cancelled", _build_outcomes(record), {"reason": REASON, "code": CANCELLED})
    answer = lanes.cancel(record.id, "send", tenant, end)
    if answer == "ok":
        tell("message.cancelled", event_id=record.id, organization_id=tenant, reason=REASON)
    return answer


def is_message(record: Record | None) -> bool:
    """Return whether a record is that of a message, and not of a change of a message."""
    return record is not None and record.queue == "send" and not is_change(record.body or b"")


def _build_outcomes(record: Record) -> list[Outcome]:
    """Return the row of a message that is cancelled; none where a newer version wrote it."""
    try:
        event = SendEvent.model_validate_json(record.body or b"")
    except ValidationError:
        return []
    why = {"error": REASON, "code": CANCELLED}
    return [routing.build_message_outcome(event, "failed", utc_now(), **why)]

"""Messages of which nobody can know whether the platform took them."""

from shared import intake
from shared.events import SendEvent, utc_now
from shared.lanes import Claim, Settled, Verdict


def unknown(claim: Claim, why: str) -> Verdict:
    """Nobody can know whether the platform took it: shown as such, never blindly sent again."""
    event = SendEvent.model_validate_json(claim.body)
    return Settled("unknown", [intake.message_outcome(event, "unknown", utc_now(), error=why)], {"reason": why})

"""Messages of which nobody can know whether the platform took them."""

from shared import intake
from shared.directory import Route
from shared.events import SendEvent, utc_now
from shared.lanes import Claim, Postponed, Settled, Verdict
from workers.drain import back_off


def unknown(claim: Claim, why: str, route: Route | None) -> Verdict:
    """Show it as such, never blindly send it again; unless its organization has chosen to have it doubled rather.

    It is settled by a later webhook, by an operator, or by nobody.
    """
    if route and route.resends_unknown:
        return Postponed(back_off(claim.attempts), f"unknown, and sent again by the organization's policy: {why}")
    event = SendEvent.model_validate_json(claim.body)
    return Settled("unknown", [intake.message_outcome(event, "unknown", utc_now(), error=why)], {"reason": why})

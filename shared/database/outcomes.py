"""Writes outcomes (shared/outcomes.py): the SQL function `wpp_apply`, and what it set aside."""

from collections.abc import Sequence
from typing import Any

from shared import qr_pictures
from shared.database.connection import Connection
from shared.database.models import Applied, ClaimedOutcomes, Retried, SetAsideClaim
from shared.errors import DatabaseError
from shared.outcomes import SetAside

NO_FUNCTION = "PGRST202"
MAX_RETRIED = 200
"""Outcomes that a try applies at most, as many as a batch of the recorder."""


class Outcomes:
    """The batch function, and the retry of organizations that it set aside."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def apply(self, outcomes: Sequence[dict[str, Any]]) -> Applied:
        """Apply outcomes (`model_dump(mode="json")`) in one transaction.

        Refused outcomes are left out and named in the result. Outcomes of an organization that
        cannot be applied wait in Supabase, apart from those of further organizations.

        Raises:
            DatabaseError: the batch is unreadable or too large; no outcome was applied.
            DatabaseUnavailableError: the outcomes are fine, try again; no outcome was applied.
        """
        batch = [_with_picture(outcome) for outcome in outcomes]
        return self._connection.call("wpp_apply", Applied, batch=batch)

    def find_version(self) -> int:
        """Return the newest version of outcomes that `wpp_apply` knows; raises as `apply`."""
        try:
            return self._connection.call("wpp_outcome_version", int)
        except DatabaseError as error:
            if error.sqlstate == NO_FUNCTION:  # of before there were versions
                return 1
            raise

    def put_aside(self, outcomes: Sequence[dict[str, Any]], code: str, why: str) -> list[SetAside]:
        """Set the organizations of outcomes aside without applying them; raises as `apply`."""
        values = {"batch": list(outcomes), "code": code, "why": why}
        return self._connection.call("wpp_put_aside", list[SetAside], **values)

    def claim_set_aside(self) -> SetAsideClaim:
        """Claim outcomes of an organization whose next try is due; raises as `apply`."""
        return self._connection.call("wpp_claim_set_aside", SetAsideClaim, max_rows=MAX_RETRIED)

    def apply_set_aside(self, claimed: ClaimedOutcomes) -> Retried:
        """Try claimed outcomes again; raises as `apply`."""
        values = {"owner": claimed.owner, "rows": list(claimed.rows)}
        return self._connection.call("wpp_apply_set_aside", Retried, **values)


def _with_picture(outcome: dict[str, Any]) -> dict[str, Any]:
    """Return an outcome whose QR code is a picture, as pages of the CRM show it."""
    code = outcome.get("qr")
    if outcome.get("type") != "session" or not isinstance(code, str) or not code:
        return outcome
    return {**outcome, "qr": qr_pictures.to_stored(code)}

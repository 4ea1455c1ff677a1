"""Writes outcomes (shared/outcomes.py): the SQL function `wpp_apply`."""

from collections.abc import Sequence
from typing import Any

from shared.database.connection import Connection
from shared.database.models import Applied


class Outcomes:
    """The batch function."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def apply(self, outcomes: Sequence[dict[str, Any]], *, all_wrong: bool = False) -> Applied:
        """Apply outcomes (`model_dump(mode="json")`) in one transaction.

        Refused outcomes and outcomes behind a lock are left out and named in the result. When every
        outcome of a batch is refused for the same reason, the database is at fault, unless
        `all_wrong` says that the outcomes are.

        Raises:
            DatabaseError: the batch is unreadable or too large; no outcome was applied.
            DatabaseUnavailableError: the outcomes are fine, try again; no outcome was applied.
        """
        flags = {"all_wrong": True} if all_wrong else {}
        answer = self._connection.call("wpp_apply", batch=list(outcomes), **flags)
        return Applied.model_validate(answer)

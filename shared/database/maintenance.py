"""Maintenance of Supabase in bounded steps: each call does a step and returns its rows."""

from datetime import datetime

from shared.database.connection import Connection

BATCH = 200
"""Parked outcomes that a call applies, as many as a batch of the recorder."""


class Maintenance:
    """The maintenance functions. `prune_size` is the number of rows that a call removes at most."""

    def __init__(self, connection: Connection, prune_size: int) -> None:
        self._connection = connection
        self._prune_size = prune_size

    def apply_parked(self) -> int:
        """Apply outcomes that waited for their account and is known now."""
        return self._connection.call("wpp_apply_parked", int, max_rows=BATCH)

    def expire_parked(self, before: datetime) -> int:
        """Turn outcomes that were parked before a time into dead letters."""
        values = {"parked_before": before.isoformat(), "max_rows": self._prune_size}
        return self._connection.call("wpp_expire_parked", int, **values)

    def prune(self, before: datetime) -> int:
        """Delete webhook logs, replayed dead letters and session changes older than a time."""
        values = {"older_than": before.isoformat(), "max_rows": self._prune_size}
        return self._connection.call("wpp_prune", int, **values)

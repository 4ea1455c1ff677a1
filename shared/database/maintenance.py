"""Maintenance of Supabase in bounded steps: each call does a step and returns its rows."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel

from shared.database.connection import Connection

BATCH = 200
"""Parked outcomes that a call applies, as many as a batch of the recorder."""


class Examination(BaseModel):
    """What the database tells about itself."""

    at: datetime
    migrations: list[str] | None
    """Versions that are applied; None where they are not recorded, as by psql."""
    unguarded: list[str]
    """Tables of ours without row security."""
    published: list[str] | None
    """Tables whose changes Realtime publishes; None without its publication."""


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

    def prune_events(self, before: datetime) -> int:
        """Delete the events of organizations that were noted before a time."""
        values = {"older_than": before.isoformat(), "max_rows": self._prune_size}
        return self._connection.call("wpp_prune_events", int, **values)

    def prune_deliveries(self, before: datetime) -> int:
        """Delete attempts at deliveries that are older than a time."""
        values = {"older_than": before.isoformat(), "max_rows": self._prune_size}
        return self._connection.call("wpp_prune_deliveries", int, **values)

    def examine(self, tables: Sequence[str]) -> Examination:
        """Return what cannot be seen through the API, of these tables and all of the pipeline's."""
        return self._connection.call("wpp_examine", Examination, tables=list(tables))

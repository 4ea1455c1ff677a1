"""What keeps Supabase tidy: each call does a bounded part, so that none takes long, and tells how much it did."""

from datetime import datetime

from shared.database.calls import Calls

AT_ONCE = 1000
FEW = 200
"""Outcomes applied at once, as in a batch of the recorder."""


class Upkeep(Calls):
    def unpark(self) -> int:
        """Apply outcomes that waited for an account which somebody has by now; at most `FEW`."""
        return int(self._call("wpp_unpark", most=FEW))

    def expire_parked(self, before: datetime) -> int:
        """Turn outcomes that were parked before that into dead letters; at most `AT_ONCE`."""
        return int(self._call("wpp_expire_parked", parked_before=before.isoformat(), most=AT_ONCE))

    def prune(self, before: datetime) -> int:
        """Drop older raw logs, replayed dead letters and past states of sessions; at most `AT_ONCE` of each."""
        return int(self._call("wpp_prune", kept_before=before.isoformat(), most=AT_ONCE))

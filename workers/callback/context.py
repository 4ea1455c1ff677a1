"""CallbackContext: what the callback handler works with, built once per process."""

import threading
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from uuid import UUID

from cachetools import TTLCache

from shared.callbacks import Callback
from shared.database import Database
from shared.settings import CallbackSettings, SupabaseSettings, load_settings
from workers.callback.poster import Poster

KNOWN_S = 5.0
"""How long a callback is known without another look-up: a change takes effect within this time."""
MAX_KNOWN = 10_000


@dataclass(frozen=True)
class CallbackContext:
    """Clients of the handler. `patience`: how long a callback may fail before it is disabled."""

    poster: Poster
    database: Database
    patience: timedelta
    _known: "TTLCache[UUID, Callback | None]" = field(
        default_factory=lambda: TTLCache(MAX_KNOWN, KNOWN_S)
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, callback_id: UUID, organization_id: UUID) -> Callback | None:
        """Return a callback, or None if the organization has none of this id.

        Raises:
            DatabaseError: as `Database`.
        """
        with self._lock:
            if callback_id in self._known:
                return self._known[callback_id]
        found = self.database.callbacks.find(callback_id, organization_id)
        with self._lock:
            self._known[callback_id] = found
        return found

    def forget(self, callback_id: UUID) -> None:
        with self._lock:
            self._known.pop(callback_id, None)


@cache
def callback_context() -> CallbackContext:
    """Return the callback context of this process.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    settings = load_settings(CallbackSettings)
    database = Database(load_settings(SupabaseSettings))
    patience = timedelta(days=settings.wpp_callback_patience_days)
    return CallbackContext(Poster(settings), database, patience)

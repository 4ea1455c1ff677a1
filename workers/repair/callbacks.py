"""Callbacks of any organization: how they do, and posting their events again."""

from datetime import datetime
from uuid import UUID

from shared.callbacks import Callback
from shared.database import Database
from shared.errors import NotFoundError


def find_callback(callback_id: UUID, database: Database) -> Callback:
    """Return a callback of any organization.

    Raises:
        NotFoundError: there is none.
    """
    found = database.callbacks.find_any(callback_id)
    if found is None:
        msg = f"no callback {callback_id} (see wpp callbacks list)"
        raise NotFoundError(msg)
    return found


def replay_since(callback_id: UUID, since: datetime, database: Database) -> Callback:
    """Have the events since a time posted once more, each under its id; raises NotFoundError."""
    callback = find_callback(callback_id, database)
    database.callbacks.rewind(callback.id, callback.organization_id, since)
    return callback


def describe_state(callback: Callback) -> str:
    """Return how a callback does, in a few words."""
    if not callback.is_enabled:
        return f"disabled: {callback.disabled_reason or 'by its owner'}"
    if callback.failing_since:
        return f"failing since {callback.failing_since:%F %H:%M}"
    return "works" if callback.last_success_at else "nothing posted yet"

"""Callbacks (`wpp_callbacks`) and the attempts at their deliveries."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from shared.callbacks import (
    Callback,
    CallbackEvents,
    CallbackHealth,
    Delivery,
    PostAttempt,
)
from shared.database.connection import Connection

CALLBACKS = "wpp_callbacks"


class Callbacks:
    """The callbacks of all organizations. Methods that take an organization see only its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, row: dict[str, Any], max_callbacks: int) -> Callback | None:
        """Create a callback, once for its id; None: its organization has too many already."""
        found = self._connection.call(
            "wpp_create_callback", list[Callback], callback=row, max_callbacks=max_callbacks
        )
        return found[0] if found else None

    def find(self, callback_id: UUID, organization_id: UUID) -> Callback | None:
        query = self._connection.table(CALLBACKS).select("*").eq("id", str(callback_id))
        return self._first(query.eq("organization_id", str(organization_id)))

    def find_any(self, callback_id: UUID) -> Callback | None:
        """Return a callback of any organization, for an operator."""
        return self._first(self._connection.table(CALLBACKS).select("*").eq("id", str(callback_id)))

    def list_for(self, organization_id: UUID) -> list[Callback]:
        """Return the callbacks of an organization, the oldest first."""
        query = self._connection.table(CALLBACKS).select("*")
        query = query.eq("organization_id", str(organization_id)).order("created_at").order("id")
        return [Callback.model_validate(row) for row in self._connection.rows(query)]

    def list_all(self) -> list[Callback]:
        rows = self._connection.iterate(lambda: self._connection.table(CALLBACKS).select("*"))
        return [Callback.model_validate(row) for row in rows]

    def update(
        self, callback_id: UUID, organization_id: UUID, changes: dict[str, Any]
    ) -> Callback | None:
        """Change columns; return the callback, or None if there is none."""
        query = self._connection.table(CALLBACKS).update(changes).eq("id", str(callback_id))
        return self._first(query.eq("organization_id", str(organization_id)))

    def rotate(self, found: Callback, secret: SecretStr, until: datetime) -> Callback | None:
        """Replace the secret; the present secret signs as well until a time."""
        changes = {
            "secret": secret.get_secret_value(),
            "previous_secret": found.secret.get_secret_value(),
            "previous_until": until.isoformat(),
        }
        return self.update(found.id, found.organization_id, changes)

    def delete(self, callback_id: UUID, organization_id: UUID) -> bool:
        query = self._connection.table(CALLBACKS).delete().eq("id", str(callback_id))
        return bool(self._connection.rows(query.eq("organization_id", str(organization_id))))

    def list_new_events(
        self, max_rows: int, busy: Sequence[UUID], strained: Sequence[UUID], max_callbacks: int = 20
    ) -> CallbackEvents:
        """Return the next events of callbacks, not of the organizations `busy`.

        Of `strained` organizations none for callbacks that fail.
        """
        return self._connection.call(
            "wpp_callback_events",
            CallbackEvents,
            max_callbacks=max_callbacks,
            max_rows=max_rows,
            busy=[str(each) for each in busy],
            strained=[str(each) for each in strained],
        )

    def advance(self, found: Callback, reached: int) -> bool:
        """Move a position on; False: another process or a rewind was first."""
        values = {
            "callback_id": str(found.id),
            "seen": found.position,
            "seen_generation": found.generation,
            "reached": reached,
        }
        return self._connection.call("wpp_advance_callback", bool, **values)

    def rewind(self, callback_id: UUID, organization_id: UUID, since: datetime) -> bool:
        """Have the events since a time posted again; False: there is no such callback."""
        values = {
            "callback_id": str(callback_id),
            "organization_id": str(organization_id),
            "since": since.isoformat(),
        }
        return self._connection.call("wpp_rewind_callback", bool, **values)

    def record(self, attempt: PostAttempt, patience: timedelta) -> CallbackHealth | None:
        """Record an attempt; None: the callback was deleted."""
        return self._connection.call(
            "wpp_record_delivery",
            CallbackHealth | None,  # type: ignore[arg-type]
            delivery=attempt.model_dump(mode="json"),
            patience=f"{patience.total_seconds()} seconds",
        )

    def measure(self) -> dict[str, float]:
        """Return how many callbacks work, fail or are disabled, and the age of what is due."""
        return self._connection.call("wpp_callback_health", dict[str, float])

    def list_deliveries(
        self, callback_id: UUID, organization_id: UUID, before: int | None, limit: int
    ) -> list[Delivery]:
        """Return attempts, the newest first, of ids below `before`."""
        query = self._connection.table("wpp_callback_deliveries").select("*")
        query = query.eq("callback_id", str(callback_id))
        query = query.eq("organization_id", str(organization_id))
        if before is not None:
            query = query.lt("id", before)
        rows = self._connection.rows(query.order("id", desc=True).limit(limit))
        return [Delivery.model_validate(row) for row in rows]

    def find_delivery(
        self, delivery_id: int, callback_id: UUID, organization_id: UUID
    ) -> Delivery | None:
        found = self.list_deliveries(callback_id, organization_id, delivery_id + 1, 1)
        return found[0] if found and found[0].id == delivery_id else None

    def _first(self, query: Any) -> Callback | None:
        rows = self._connection.rows(query)
        return Callback.model_validate(rows[0]) if rows else None

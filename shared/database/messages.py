"""Messages in the CRM's table `chat_messages`, and the history of their statuses."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.database.connection import Connection
from shared.database.models import Evidence, StoredMessage
from shared.timeline import HistoryRow

COLUMNS = (
    "id, organization_id, client_id, teacher_id, integration_id, is_outgoing, message_text, "
    "message_status, external_message_id, file_url, file_name, file_type, metadata, created_at"
)

MAX_HISTORY = 1000
OURS = ("retry_count", "99")
"""What the metadata of each message that the pipeline accepted has (shared/routing.py)."""


class Messages:
    """The messages of all organizations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, message_id: UUID, organization_id: UUID) -> StoredMessage | None:
        """Return a message of an organization, or None."""
        query = self._connection.table("chat_messages").select(COLUMNS).eq("id", str(message_id))
        rows = self._connection.rows(query.eq("organization_id", str(organization_id)).limit(1))
        return StoredMessage.model_validate(rows[0]) if rows else None

    def find_all(self, ids: Sequence[UUID]) -> dict[UUID, StoredMessage]:
        """Return those of some messages that have a row, of any organization."""
        query = self._connection.table("chat_messages").select(COLUMNS)
        rows = self._connection.rows(query.in_("id", [str(each) for each in ids]))
        found = [StoredMessage.model_validate(row) for row in rows]
        return {message.id: message for message in found}

    def iterate_sent(self, since: datetime) -> Iterator[StoredMessage]:
        """Return the messages that the pipeline accepted since a time, page by page."""

        def select() -> Any:
            query = self._connection.table("chat_messages").select(COLUMNS)
            query = query.is_("is_outgoing", "true").eq(f"metadata->>{OURS[0]}", OURS[1])
            return query.gte("created_at", since.isoformat())

        for row in self._connection.iterate(select):
            yield StoredMessage.model_validate(row)

    def find_by_external_id(self, external_id: str, organization_id: UUID) -> StoredMessage | None:
        """Return the latest message of an organization with this id of the platform, or None."""
        query = self._connection.table("chat_messages").select(COLUMNS)
        query = query.eq("external_message_id", external_id)
        query = query.eq("organization_id", str(organization_id))
        rows = self._connection.rows(query.order("created_at", desc=True).limit(1))
        return StoredMessage.model_validate(rows[0]) if rows else None

    def find_organization(self, message_id: str) -> UUID | None:
        """Return the organization of a message by its id or its external id, or None.

        None also where messages of several organizations have this external id.
        """
        try:
            column, value = "id", str(UUID(message_id))
        except ValueError:
            column, value = "external_message_id", message_id
        query = self._connection.table("chat_messages").select("organization_id")
        rows = self._connection.rows(query.eq(column, value).limit(100))
        found = {row["organization_id"] for row in rows}
        return UUID(found.pop()) if len(found) == 1 else None

    def mark_deleted(self, message_id: UUID, organization_id: UUID) -> bool:
        """Show a message as deleted, in the words of the CRM. False: not found."""
        ids = {"message_id": str(message_id), "organization_id": str(organization_id)}
        return self._connection.call("wpp_mark_deleted", bool, **ids)

    def mark_read(self, organization_id: UUID, phone: str) -> int:
        """Mark what arrived from a phone as read; return how many messages were unread.

        `phone` is international digits: every spelling of it in the CRM counts.
        """
        names = {"organization_id": str(organization_id), "digits": phone}
        return self._connection.call("wpp_mark_read", int, **names)

    def list_history(
        self, message_id: UUID, organization_id: UUID | None = None
    ) -> list[HistoryRow]:
        """Return what happened to a message, as recorded; without an organization, to any."""
        query = self._connection.table("wpp_message_history").select("*")
        query = query.eq("message_id", str(message_id))
        if organization_id:
            query = query.eq("organization_id", str(organization_id))
        rows = self._connection.rows(query.order("id").limit(MAX_HISTORY))
        return [HistoryRow.model_validate(row) for row in rows]

    def find_known_ids(self, account: str, external_ids: Sequence[str]) -> set[str]:
        """Return those ids that are of a stored message of an account."""
        query = self._connection.table("wpp_message_ids").select("external_id")
        rows = self._connection.rows(query.eq("account", account).in_("external_id", external_ids))
        return {row["external_id"] for row in rows}

    def list_external_ids(self, message_id: UUID, organization_id: UUID) -> list[str]:
        """Return the ids that the platform and WhatsApp use for the parts of a message."""
        query = self._connection.table("wpp_message_ids").select("external_id")
        query = query.eq("message_id", str(message_id)).eq("organization_id", str(organization_id))
        return sorted(row["external_id"] for row in self._connection.rows(query.limit(50)))

    def load_evidence(self, since: datetime, account: str | None = None) -> Evidence:
        """Return what may settle messages of unknown delivery: orphan reports, unnamed messages.

        Reports that arrived, and messages that were accepted, since a time; of an account, or all.
        """
        return self._connection.call(
            "wpp_evidence", Evidence, since=since.isoformat(), named_account=account
        )

"""Messages in the CRM's table `chat_messages`, and the history of their statuses."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from shared.database.connection import Connection
from shared.database.models import Evidence, StatusChange, StoredMessage

COLUMNS = (
    "id, organization_id, client_id, teacher_id, integration_id, is_outgoing, message_text, "
    "message_status, external_message_id, file_url, file_name, file_type, metadata, created_at"
)


class Messages:
    """The messages of all organizations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, message_id: UUID, organization_id: UUID) -> StoredMessage | None:
        """Return a message of an organization, or None."""
        query = self._connection.table("chat_messages").select(COLUMNS).eq("id", str(message_id))
        rows = self._connection.rows(query.eq("organization_id", str(organization_id)).limit(1))
        return StoredMessage.model_validate(rows[0]) if rows else None

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

    def status_history(self, message_id: UUID, organization_id: UUID) -> list[StatusChange]:
        """Return the status reports of a message, the earliest first."""
        query = self._connection.table("wpp_message_history").select("status, at, source, error")
        query = query.eq("message_id", str(message_id)).eq("organization_id", str(organization_id))
        rows = self._connection.rows(query.order("at").order("status"))
        return [StatusChange.model_validate(row) for row in rows]

    def find_known_ids(self, account: str, external_ids: Sequence[str]) -> set[str]:
        """Return those ids that are of a stored message of an account."""
        query = self._connection.table("wpp_message_ids").select("external_id")
        rows = self._connection.rows(query.eq("account", account).in_("external_id", external_ids))
        return {row["external_id"] for row in rows}

    def load_evidence(self, since: datetime, account: str | None = None) -> Evidence:
        """Return what may settle messages of unknown delivery: orphan reports, unnamed messages.

        Reports that arrived, and messages that were accepted, since a time; of an account, or all.
        """
        return self._connection.call(
            "wpp_evidence", Evidence, since=since.isoformat(), named_account=account
        )

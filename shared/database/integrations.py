"""Integrations: connected WhatsApp numbers, the state of their sessions, and their accounts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from pydantic import SecretStr, ValidationError

from shared.database.connection import Connection, storable
from shared.database.models import Integration, MessengerRow, SessionChange
from shared.errors import DatabaseError

log = structlog.get_logger()

NOTHING: Any = list[None] | None
"""The result of a function without one."""


class Integrations:
    """The WPP integrations of all organizations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, integration_id: UUID) -> Integration | None:
        """Return an integration, or None."""
        return next(iter(self._find("id", str(integration_id))), None)

    def get_by_account(self, account: str) -> Integration | None:
        """Return the integration that an account belongs to, or None."""
        return next(iter(self._find("account", account)), None)

    def list_for(self, organization_id: UUID) -> list[Integration]:
        """Return an organization's integrations, the primary first, then the oldest."""
        return self._find("organization_id", str(organization_id))

    def list_messengers(
        self, organization_id: UUID, messenger_type: str | None = None
    ) -> list[MessengerRow]:
        """Return an organization's messengers of all providers, the primary first, then the oldest.

        The settings of other providers hold their secrets.
        """
        query = self._connection.table("messenger_integrations").select("*")
        query = query.eq("organization_id", str(organization_id))
        if messenger_type:
            query = query.eq("messenger_type", messenger_type)
        query = query.order("is_primary", desc=True, nullsfirst=False).order("created_at")
        rows = self._connection.rows(query.order("id"))
        return [MessengerRow.model_validate(row) for row in rows]

    def iterate(self) -> Iterator[Integration]:
        """Return the integrations of all organizations, page by page."""
        return _readable(
            self._connection.iterate(lambda: self._connection.table("wpp_integrations").select("*"))
        )

    def list_page(
        self, organization_id: UUID | None, statuses: Sequence[str], first: int, limit: int
    ) -> tuple[list[Integration], int]:
        """Return numbers with an account, and how many there are: of an organization, or of all.

        The latest changes of state come first.
        """
        query = self._connection.table("wpp_integrations").select("*", count="exact")
        query = query.not_.is_("account", "null")
        if organization_id:
            query = query.eq("organization_id", str(organization_id))
        if statuses:
            query = query.in_("status", list(statuses))
        query = query.order("status_at", desc=True, nullsfirst=False).order("id")
        rows, total = self._connection.counted(query.range(first, first + limit - 1))
        return list(_readable(rows)), total

    def count_messages(
        self, integration_id: UUID, organization_id: UUID, since: datetime
    ) -> dict[str, int]:
        """Return how many messages of a number there are since a time, by status; of 1,000."""
        query = self._connection.table("chat_messages").select("message_status, is_outgoing")
        query = query.eq("organization_id", str(organization_id))
        query = query.eq("integration_id", str(integration_id))
        query = query.gte("created_at", since.isoformat()).limit(1000)
        return Counter(
            row["message_status"] or "sent" if row["is_outgoing"] else "received"
            for row in self._connection.rows(query)
        )

    def find_owner(self, account: str) -> UUID | None:
        """Return the organization of an account, also of a removed integration, or None."""
        query = self._connection.table("wpp_accounts").select("organization_id")
        rows = self._connection.rows(query.eq("account", account).limit(1))
        return UUID(rows[0]["organization_id"]) if rows else None

    def is_known(self, integration_id: UUID) -> bool:
        """Return whether an integration exists, or had an account before it was removed."""
        query = self._connection.table("wpp_accounts").select("account")
        rows = self._connection.rows(query.eq("integration_id", str(integration_id)).limit(1))
        return bool(rows) or self.get(integration_id) is not None

    def list_accounts(self, organization_id: UUID) -> list[str]:
        """Return the accounts of an organization, also those of removed integrations."""
        query = self._connection.table("wpp_accounts").select("account")
        rows = self._connection.rows(query.eq("organization_id", str(organization_id)))
        return [row["account"] for row in rows]

    def save(  # noqa: PLR0913 - the values of an atomic write, all by name
        self,
        *,
        integration_id: UUID,
        organization_id: UUID,
        name: str | None = None,
        account: str | None = None,
        api_key: SecretStr | None = None,
        sub_org_id: str | None = None,
        is_enabled: bool | None = None,
    ) -> Integration:
        """Create or update an integration and return it; None leaves a value as it is.

        Raises:
            DatabaseError: the id or the account belongs to another organization (23505).
        """
        self._connection.call(
            "wpp_save_integration",
            NOTHING,
            id=str(integration_id),
            organization_id=str(organization_id),
            name=name,
            account=account,
            api_key=api_key.get_secret_value() if api_key else None,
            sub_org_id=sub_org_id,
            is_enabled=is_enabled,
        )
        if saved := self.get(integration_id):
            return saved
        msg = f"integration {integration_id} was removed while it was saved"
        raise DatabaseError(msg)

    def update(self, integration_id: UUID, organization_id: UUID, **values: Any) -> bool:
        """Set columns (`name`, `is_enabled`) of an organization's integration. False: not found."""
        query = self._connection.table("messenger_integrations").update(storable(values))
        query = query.eq("id", str(integration_id)).eq("organization_id", str(organization_id))
        return bool(self._connection.rows(query.eq("provider", "wpp")))

    def remove(self, integration_id: UUID, organization_id: UUID) -> bool:
        """Remove an integration; the oldest that is left becomes primary. False: not found."""
        return self._call("wpp_remove_integration", integration_id, organization_id)

    def set_primary(self, integration_id: UUID, organization_id: UUID) -> bool:
        """Make an integration the primary of its organization. False: not found."""
        return self._call("wpp_set_primary", integration_id, organization_id)

    def report_error(self, integration_id: UUID, text: str) -> None:
        """Show an error at an integration; the next state of its session replaces it."""
        values = {"last_error": storable(text), "last_error_at": datetime.now(UTC).isoformat()}
        query = self._connection.table("messenger_integrations").update(values)
        self._connection.rows(query.eq("id", str(integration_id)).eq("provider", "wpp"))

    def session_history(
        self,
        integration_id: UUID,
        organization_id: UUID,
        limit: int = 100,
        until: datetime | None = None,
    ) -> list[SessionChange]:
        """Return the changes of a session's state before `until`, the latest first.

        They remain when the integration is removed.
        """
        query = self._connection.table("wpp_session_history")
        query = query.select("status, reason, error, account, at")
        query = query.eq("integration_id", str(integration_id))
        query = query.eq("organization_id", str(organization_id))
        if until:
            query = query.lt("at", until.isoformat())
        query = query.order("at", desc=True).order("id", desc=True).limit(limit)
        return [SessionChange.model_validate(row) for row in self._connection.rows(query)]

    def number_history(
        self,
        integration_id: UUID,
        organization_id: UUID,
        limit: int = 100,
        until: datetime | None = None,
    ) -> list[SessionChange]:
        """Return `session_history` with the pauses and resumptions of the number among it."""
        return self._connection.call(
            "wpp_number_history",
            list[SessionChange],
            integration_id=str(integration_id),
            organization_id=str(organization_id),
            max_rows=limit,
            until=until.isoformat() if until else None,
        )

    def tell_pauses(self) -> int:
        """Note the events of pauses that could not be noted at once; return how many."""
        return self._connection.call("wpp_tell_pauses", int)

    def find_last_change(self, named: str, organization_id: UUID) -> SessionChange | None:
        """Return the latest change of a session by its integration's id or its account."""
        column = "integration_id" if _is_uuid(named) else "account"
        query = self._connection.table("wpp_session_history")
        query = query.select("status, reason, error, account, at").eq(column, named)
        query = query.eq("organization_id", str(organization_id))
        rows = self._connection.rows(query.order("at", desc=True).limit(1))
        return SessionChange.model_validate(rows[0]) if rows else None

    def _find(self, column: str, value: str) -> list[Integration]:
        query = self._connection.table("wpp_integrations").select("*").eq(column, value)
        query = query.order("is_primary", desc=True).order("created_at").order("id")
        return list(_readable(self._connection.rows(query)))

    def _call(self, function: str, integration_id: UUID, organization_id: UUID) -> bool:
        ids = {"integration_id": str(integration_id), "organization_id": str(organization_id)}
        return self._connection.call(function, bool, **ids)


def _readable(rows: Iterable[dict[str, Any]]) -> Iterator[Integration]:
    """Leave out invalid rows, so that they do not hide the rest."""
    for row in rows:
        try:
            yield Integration.model_validate(row)
        except ValidationError as error:
            fields = sorted({str(fault["loc"][0]) for fault in error.errors()})
            log.warning("integration.unreadable", integration_id=row.get("id"), fields=fields)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True

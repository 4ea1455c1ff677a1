"""Supabase: what is read of it, and the SQL functions that write to it (supabase/migrations).

Every method blocks, for 15 s at most, and raises DatabaseUnavailableError (it may work later) or DatabaseError.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import structlog
from pydantic import SecretStr, ValidationError

from shared.database.connection import map_errors
from shared.database.dead_letters import Letters
from shared.database.jsonb import storable
from shared.database.maintenance import Upkeep
from shared.database.models import (
    Applied,
    DeadLetter,
    DeadLetterQuery,
    Integration,
    SessionChange,
    StatusChange,
    StoredMessage,
)
from shared.database.policies import Policies
from shared.errors import DatabaseError, DatabaseUnavailableError, InvalidApiKeyError
from shared.tokens import expiry
from shared.tokens.store import StoredCredentials, Token

__all__ = ["Applied", "Database", "DeadLetter", "DeadLetterQuery", "Integration", "StoredMessage"]

MESSAGE_COLUMNS = (
    "id, organization_id, client_id, teacher_id, integration_id, is_outgoing, message_text, message_status, "
    "external_message_id, file_url, file_name, file_type, metadata, created_at"
)
PAGE = 500

log = structlog.get_logger()


class Database(Letters, Policies, Upkeep):
    def apply(self, outcomes: Sequence[dict[str, Any]], *, all_wrong: bool = False) -> Applied:
        """Apply outcomes (`model_dump(mode="json")`) in one transaction, but for those that are refused or busy.

        Several that are all refused for the same reason are no fault of theirs, unless `all_wrong` says so.

        Raises:
            DatabaseError: they can't even be looked at, as one or as so many; none was applied.
            DatabaseUnavailableError: nothing is wrong with them, try again; none was applied.
        """
        flags = {"all_wrong": True} if all_wrong else {}
        return Applied.model_validate(self._call("wpp_apply", batch=list(outcomes), **flags))

    def integration(self, integration_id: UUID) -> Integration | None:
        return next(iter(self._integrations("id", str(integration_id))), None)

    def integration_by_account(self, account: str) -> Integration | None:
        return next(iter(self._integrations("account", account)), None)

    def integrations(self, organization_id: UUID) -> list[Integration]:
        """Return an organization's WPP integrations, the primary one first, then the oldest."""
        return self._integrations("organization_id", str(organization_id))

    def every_integration(self) -> Iterator[Integration]:
        """Go through all organizations' WPP integrations, a page at a time."""
        last = str(UUID(int=0))
        while True:
            with map_errors():
                found = self._connection.client.table("wpp_numbers").select("*").gt("id", last)
                rows = found.order("id").limit(PAGE).execute().data
            yield from _readable(rows)
            if len(rows) < PAGE:
                return
            last = cast("dict[str, Any]", rows[-1])["id"]

    def save_integration(  # noqa: PLR0913 - one atomic step of provisioning, all by name
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
        """Make or update an integration, and return it; None leaves what is there.

        Raises:
            DatabaseError: the id or the account belongs to another organization (23505).
        """
        self._call(
            "wpp_save_integration",
            id=str(integration_id),
            organization_id=str(organization_id),
            name=name,
            account=account,
            api_key=api_key.get_secret_value() if api_key else None,
            sub_org_id=sub_org_id,
            is_enabled=is_enabled,
        )
        if saved := self.integration(integration_id):
            return saved
        msg = f"integration {integration_id} was removed while it was saved"
        raise DatabaseError(msg)

    def change_integration(
        self, integration_id: UUID, organization_id: UUID, **values: Any
    ) -> bool:
        """Set columns of an organization's integration (`name`, `is_enabled`). False: it has no such."""
        with map_errors():
            table = self._connection.client.table("messenger_integrations").update(storable(values))
            equal = _both(integration_id, organization_id)
            found = table.eq("id", equal["integration_id"]).eq(
                "organization_id", equal["organization_id"]
            )
            return bool(found.eq("provider", "wpp").execute().data)

    def session_history(
        self, integration_id: UUID, organization_id: UUID, limit: int = 100
    ) -> list[SessionChange]:
        """Return the changes of a number's state, the latest first; also those of a number that was removed."""
        with map_errors():
            found = self._connection.client.table("wpp_session_history").select(
                "status, reason, error, account, at"
            )
            for column, value in _both(integration_id, organization_id).items():
                found = found.eq(column, value)
            rows = found.order("at", desc=True).order("id", desc=True).limit(limit).execute().data
        return [SessionChange.model_validate(row) for row in rows]

    def remove_integration(self, integration_id: UUID, organization_id: UUID) -> bool:
        """Remove an integration; the oldest one left becomes primary. False: there was none."""
        return bool(self._call("wpp_remove_integration", **_both(integration_id, organization_id)))

    def set_primary(self, integration_id: UUID, organization_id: UUID) -> bool:
        return bool(self._call("wpp_set_primary", **_both(integration_id, organization_id)))

    def report_error(self, integration_id: UUID, text: str) -> None:
        """Show what is wrong with an integration; the next state of its session replaces it."""
        wrong = {"last_error": storable(text), "last_error_at": datetime.now(UTC).isoformat()}
        with map_errors():
            table = self._connection.client.table("messenger_integrations")
            table.update(wrong).eq("id", str(integration_id)).eq("provider", "wpp").execute()

    def organization_of_account(self, account: str) -> UUID | None:
        """Return whose an account is, or was when its number was removed; None where it never was anybody's."""
        rows = self._rows("wpp_accounts", "organization_id", account=account, limit=1)
        return UUID(rows[0]["organization_id"]) if rows else None

    def message(self, message_id: UUID, organization_id: UUID) -> StoredMessage | None:
        rows = self._rows(
            "chat_messages",
            MESSAGE_COLUMNS,
            id=str(message_id),
            organization_id=str(organization_id),
            limit=1,
        )
        return StoredMessage.model_validate(rows[0]) if rows else None

    def message_history(self, message_id: UUID, organization_id: UUID) -> list[StatusChange]:
        """Return what was said of a message, the earliest first."""
        with map_errors():
            found = self._connection.client.table("wpp_message_history").select(
                "status, at, source, error"
            )
            found = found.eq("message_id", str(message_id)).eq(
                "organization_id", str(organization_id)
            )
            return [
                StatusChange.model_validate(row)
                for row in found.order("at").order("status").execute().data
            ]

    def organization_of_user(self, jwt: str) -> UUID | None:
        """Return the organization of a signed-in user, or None when Supabase refuses the token or knows none."""
        try:
            with map_errors():
                answer = self._connection.client.auth.get_user(jwt)
        except DatabaseUnavailableError:
            raise
        except DatabaseError:
            return None
        rows = (
            self._rows("profiles", "organization_id", id=answer.user.id, limit=1) if answer else []
        )
        return UUID(rows[0]["organization_id"]) if rows and rows[0]["organization_id"] else None

    def api_key(self, account: str) -> SecretStr:
        """Return the long-lived key of an account.

        Raises:
            InvalidApiKeyError: there is none.
        """
        if key := self.load(account).api_key:
            return key
        raise InvalidApiKeyError.missing(account)

    def load(self, account: str) -> StoredCredentials:
        """Return the long-lived key of an account and its stored token, however old (shared/tokens/store.py)."""
        settings = self._settings(account)
        key = settings.get("wppApiKey")
        return StoredCredentials(
            SecretStr(key) if isinstance(key, str) and key else None, _token(settings)
        )

    def save(self, account: str, token: Token) -> None:
        """Store a token beside the other settings, unless a later one is there."""
        expires_at_ms = int(token.expires_at.timestamp() * 1000)
        self._call(
            "wpp_save_token",
            account=account,
            token=token.value.get_secret_value(),
            expires_at_ms=expires_at_ms,
        )

    def _integrations(self, column: str, value: str) -> list[Integration]:
        with map_errors():
            found = self._connection.client.table("wpp_numbers").select("*").eq(column, value)
            rows = (
                found.order("is_primary", desc=True).order("created_at").order("id").execute().data
            )
        return list(_readable(rows))

    def _settings(self, account: str) -> dict[str, Any]:
        settings = self._call("wpp_settings", account=account)
        return settings if isinstance(settings, dict) else {}


def _readable(rows: Iterable[Any]) -> Iterator[Integration]:
    """Leave out a row that makes no sense: one number must not hide all others."""
    for row in rows:
        try:
            yield Integration.model_validate(row)
        except ValidationError as error:
            fields = sorted({str(fault["loc"][0]) for fault in error.errors()})
            log.warning("integration.unreadable", integration_id=row.get("id"), fields=fields)


def _token(settings: dict[str, Any]) -> Token | None:
    """Return the token in an integration's settings; what is none, or has no end, somebody else wrote there."""
    value, end_ms = (
        settings.get("wppJwtToken"),
        expiry.parse_number(settings.get("wppJwtExpiresAt")),
    )
    if not isinstance(value, str) or end_ms is None:
        return None
    try:
        return Token(
            SecretStr(value), generation=0, expires_at=datetime.fromtimestamp(end_ms / 1000, UTC)
        )
    except (ValueError, OverflowError, OSError):  # no time that a calendar has
        return None


def _both(integration_id: UUID, organization_id: UUID) -> dict[str, str]:
    return {"integration_id": str(integration_id), "organization_id": str(organization_id)}

"""Signed-in users of Supabase Auth and their organizations."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.database.connection import Connection, map_errors
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.events import utc_now

OPERATOR = {"wpp_role": "operator"}
"""What `app_metadata` of an operator has. Users cannot write it, as they can `user_metadata`."""


class Users:
    """The users of all organizations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch_public_keys(self) -> dict[str, Any]:
        """Return the JSON Web Key Set with which the project's access tokens are verified."""
        return self._connection.get_json("/auth/v1/.well-known/jwks.json")

    def find_operator(self, jwt: str) -> tuple[UUID, str] | None:
        """Return the id and the e-mail of the operator of a session, or None."""
        return _read_operator(lambda: self._connection.client.auth.get_user(jwt))

    def get_operator(self, user_id: UUID) -> tuple[UUID, str] | None:
        """Return the id and the e-mail of a user who is an operator now, or None."""
        admin = self._connection.client.auth.admin
        return _read_operator(lambda: admin.get_user_by_id(str(user_id)))

    def find_organization(self, jwt: str) -> UUID | None:
        """Return a signed-in user's organization.

        None when Supabase refuses the token or the user has no organization.
        """
        try:
            with map_errors():
                answer = self._connection.client.auth.get_user(jwt)
        except DatabaseUnavailableError:
            raise
        except DatabaseError:
            return None
        if answer is None:
            return None
        query = self._connection.table("profiles").select("organization_id")
        rows = self._connection.rows(query.eq("id", answer.user.id).limit(1))
        organization_id = rows[0]["organization_id"] if rows else None
        return UUID(organization_id) if organization_id else None


def _read_operator(ask: Callable[[], Any]) -> tuple[UUID, str] | None:
    """Return the operator that Supabase Auth names; None: the user is none, or is not known."""
    try:
        with map_errors():
            answer = ask()
    except DatabaseUnavailableError:
        raise
    except DatabaseError:
        return None
    if answer is None or not OPERATOR.items() <= (answer.user.app_metadata or {}).items():
        return None
    if answer.user.banned_until and datetime.fromisoformat(answer.user.banned_until) > utc_now():
        return None
    return UUID(answer.user.id), answer.user.email or answer.user.id

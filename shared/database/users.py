"""Signed-in users of Supabase Auth and their organizations."""

from typing import Any
from uuid import UUID

from shared.database.connection import Connection, map_errors
from shared.errors import DatabaseError, DatabaseUnavailableError


class Users:
    """The users of all organizations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch_public_keys(self) -> dict[str, Any]:
        """Return the JSON Web Key Set with which the project's access tokens are verified."""
        return self._connection.get_json("/auth/v1/.well-known/jwks.json")

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

"""Operator keys (`wpp_operator_keys`): who may sign in to the console."""

from uuid import UUID

from shared.database.connection import Connection
from shared.database.models import OperatorKey, StoredOperatorKey


class OperatorKeys:
    """The keys of all operators. A key is known by its hash only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def use(self, key_hash: str) -> OperatorKey | None:
        """Return the key with this hash, and note its use; None if there is none, or revoked."""
        found = self._connection.call("wpp_use_operator_key", list[OperatorKey], key_hash=key_hash)
        return found[0] if found else None

    def create(self, name: str, key_hash: str) -> UUID:
        """Store a new key; return its id."""
        row = {"name": name, "hash": key_hash}
        (stored,) = self._connection.rows(self._connection.table("wpp_operator_keys").insert(row))
        return UUID(stored["id"])

    def list_all(self) -> list[StoredOperatorKey]:
        """Return every key, also the revoked, the newest first."""
        query = self._connection.table("wpp_operator_keys").select("*")
        rows = self._connection.rows(query.order("created_at", desc=True).order("id"))
        return [StoredOperatorKey.model_validate(row) for row in rows]

    def revoke(self, key_id: UUID) -> StoredOperatorKey | None:
        """Revoke a key from now on; return it, or None if it is not in use."""
        query = self._connection.table("wpp_operator_keys").update({"revoked_at": "now()"})
        rows = self._connection.rows(query.eq("id", str(key_id)).is_("revoked_at", "null"))
        return StoredOperatorKey.model_validate(rows[0]) if rows else None

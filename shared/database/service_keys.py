"""Service keys (`wpp_service_keys`): who may call the API for which organizations."""

from collections.abc import Sequence
from uuid import UUID

from shared.database.connection import Connection
from shared.database.models import ServiceKey, StoredServiceKey


class ServiceKeys:
    """The keys of all organizations. A key is known by its hash only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def use(self, key_hash: str) -> ServiceKey | None:
        """Return the key with this hash, and note its use; None if there is none, or revoked."""
        found = self._connection.call("wpp_use_service_key", list[ServiceKey], key_hash=key_hash)
        return found[0] if found else None

    def create(
        self, name: str, key_hash: str, organization_ids: Sequence[UUID], actions: Sequence[str]
    ) -> UUID:
        """Store a new key; return its id."""
        row = {
            "name": name,
            "hash": key_hash,
            "organization_ids": [str(each) for each in organization_ids],
            "actions": list(actions),
        }
        (stored,) = self._connection.rows(self._connection.table("wpp_service_keys").insert(row))
        return UUID(stored["id"])

    def list_all(self) -> list[StoredServiceKey]:
        """Return every key, revoked ones included, the newest first."""
        columns = "id, name, hash, organization_ids, actions, created_at, last_used_at, revoked_at"
        query = self._connection.table("wpp_service_keys").select(columns)
        rows = self._connection.rows(query.order("created_at", desc=True).order("id"))
        return [StoredServiceKey.model_validate(row) for row in rows]

    def revoke(self, key_id: UUID) -> StoredServiceKey | None:
        """Revoke a key from now on; return it, or None if there is no such key in use."""
        query = self._connection.table("wpp_service_keys").update({"revoked_at": "now()"})
        rows = self._connection.rows(query.eq("id", str(key_id)).is_("revoked_at", "null"))
        return StoredServiceKey.model_validate(rows[0]) if rows else None

"""Keys of services and of operators: made, shown once, and revoked."""

from collections.abc import Sequence
from uuid import UUID

import redis

from shared.database import Database
from shared.database.models import StoredOperatorKey, StoredServiceKey
from shared.errors import NotFoundError
from shared.service_keys import (
    ACTIONS,
    EVERYTHING,
    OPERATOR_PREFIX,
    forget_key,
    hash_service_key,
    make_key,
)

StoredKey = StoredServiceKey | StoredOperatorKey


def create_key(
    name: str, organization_ids: Sequence[UUID], actions: Sequence[str], database: Database
) -> tuple[UUID, str]:
    """Make a key for organizations and actions (none: everything); return its id and the key.

    Only its hash is stored.

    Raises:
        ValueError: an action does not exist.
    """
    wanted = list(dict.fromkeys(actions or [EVERYTHING]))
    if unknown := [each for each in wanted if each not in (*ACTIONS, EVERYTHING)]:
        msg = f"unknown action {unknown[0]}: there are {', '.join(ACTIONS)}"
        raise ValueError(msg)
    key = make_key()
    key_id = database.service_keys.create(
        name, hash_service_key(key), list(dict.fromkeys(organization_ids)), wanted
    )
    return key_id, key


def create_operator_key(name: str, database: Database) -> tuple[UUID, str]:
    """Make a key that opens the console, and nothing else; return its id and the key."""
    key = make_key(OPERATOR_PREFIX)
    return database.operator_keys.create(name, hash_service_key(key)), key


def list_keys(database: Database) -> list[StoredKey]:
    """Return the keys of services and of operators, the newest first."""
    found: list[StoredKey] = [*database.service_keys.list_all(), *database.operator_keys.list_all()]
    return sorted(found, key=lambda key: key.created_at, reverse=True)


def revoke_key(key_id: UUID, client: "redis.Redis", database: Database) -> StoredKey:
    """Revoke a key of either kind: it is refused by every web process within half a minute.

    Raises:
        NotFoundError: the key does not exist, or is revoked.
    """
    key = database.service_keys.revoke(key_id) or database.operator_keys.revoke(key_id)
    if key is None:
        msg = f"no key {key_id} that is in use (see wpp keys list)"
        raise NotFoundError(msg)
    forget_key(client, key.hash)
    return key


def describe_state(key: StoredKey) -> str:
    """Return whether a key was used or revoked, and when."""
    if key.revoked_at:
        return f"revoked {key.revoked_at:%F %H:%M}"
    return f"used {key.last_used_at:%F %H:%M}" if key.last_used_at else "never used"

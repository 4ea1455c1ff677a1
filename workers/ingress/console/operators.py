"""Who is an operator: the holder of an operator key, or a user of Supabase with that role."""

from dataclasses import dataclass
from typing import Self
from uuid import UUID

from redis import Redis

from shared.database import Database
from shared.errors import DatabaseUnavailableError
from shared.service_keys import StoredOperatorKeys, hash_service_key, is_operator_key
from workers.ingress.auth import read_claims
from workers.ingress.lookups import LookupCache
from workers.ingress.token_verifier import TokenVerifier


@dataclass(frozen=True)
class Operator:
    """A signed-in operator. `credential` finds them again: `key <hash>`, or `user <id>`.

    `subject` stands in the audit log, `name` on the page.
    """

    credential: str
    subject: str
    name: str


class Operators:
    """Finds operators. What was found is asked for again after `check_s`."""

    def __init__(
        self, keys: StoredOperatorKeys, database: Database, verifier: TokenVerifier, check_s: float
    ) -> None:
        self._keys = keys
        self._database = database
        self._verifier = verifier
        self._known = LookupCache(self._find, check_s)
        # Anyone can send tokens: their look-ups are limited, and each sign-in asks anew.
        self._tokens = LookupCache(database.users.find_operator, 0.0)

    @classmethod
    def new(
        cls, database: Database, client: "Redis", verifier: TokenVerifier, check_s: float
    ) -> Self:
        return cls(StoredOperatorKeys(database, client), database, verifier, check_s)

    async def find_by_key(self, key: str) -> Operator | None:
        """Return the operator who has a key, or None.

        Raises:
            OverloadedError: no look-up became free in time.
            DatabaseUnavailableError: Supabase did not answer, and the key is not known here.
        """
        if not is_operator_key(key):
            return None
        return await self._known.find(f"key {hash_service_key(key)}")

    async def find_by_token(self, token: str) -> Operator | None:
        """Return the operator of a session of Supabase; None: it is no operator's.

        Raises:
            OverloadedError: no look-up became free in time.
            DatabaseUnavailableError: Supabase did not answer.
        """
        if read_claims(token) is None or await self._verifier.verify(token) is False:
            return None
        found = await self._tokens.find(token)
        return _name_user(*found) if found else None

    async def is_valid(self, credential: str) -> bool:
        """Return whether a credential is an operator's still, as far as that can be told.

        While Supabase does not answer, it is valid until the session ends.
        """
        try:
            return await self._known.find(credential) is not None
        except DatabaseUnavailableError:
            return True

    def _find(self, credential: str) -> Operator | None:
        kind, _, name = credential.partition(" ")
        if kind == "key":
            key = self._keys.find_by_hash(name)
            return Operator(credential, f"operator key {key.id}", key.name) if key else None
        found = self._database.users.get_operator(UUID(name))
        return _name_user(*found) if found else None


def _name_user(user_id: UUID, email: str) -> Operator:
    return Operator(f"user {user_id}", f"operator user {user_id}", email)

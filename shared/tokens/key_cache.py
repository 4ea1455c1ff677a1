"""API keys in Redis, encrypted: tokens are minted while the store (Supabase) is away.

The encryption key is derived from the server's secrets, which Redis does not have. The first secret
encrypts and every secret decrypts, as for signed keys.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence

import redis
import structlog
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from shared.errors import DatabaseUnavailableError
from shared.redis import keys
from shared.tokens.store import StoredCredentials, Token, TokenStore

KEY_TTL_S = 30 * 86_400

log = structlog.get_logger(__name__)


class KeyCachingStore:
    """A `TokenStore` that answers with the last known API key while `store` is away."""

    def __init__(self, store: TokenStore, client: "redis.Redis", secrets: Sequence[bytes]) -> None:
        self._store = store
        self._client = client
        self._cipher = MultiFernet([Fernet(_derive_key(secret)) for secret in secrets])

    def load(self, account: str) -> StoredCredentials:
        """Return the API key and the stored token; during an outage, the last known key alone.

        Raises:
            DatabaseUnavailableError: the store did not answer, and the key is not known.
        """
        name = keys.token_api_key(account)
        try:
            found = self._store.load(account)
        except DatabaseUnavailableError as error:
            key = self._decrypt(self._client.get(name))
            if key is None:
                raise
            log.warning("token.known_key_used", account=account, error=str(error))
            return StoredCredentials(key)
        if found.api_key is None:
            self._client.delete(name)
        else:
            encrypted = self._cipher.encrypt(found.api_key.get_secret_value().encode())
            self._client.set(name, encrypted, ex=KEY_TTL_S)
        return found

    def save(self, account: str, token: Token) -> None:
        self._store.save(account, token)

    def _decrypt(self, stored: object) -> SecretStr | None:
        if not isinstance(stored, bytes):
            return None
        try:
            return SecretStr(self._cipher.decrypt(stored).decode())
        except InvalidToken:  # its secret was rotated out
            return None


def _derive_key(secret: bytes) -> bytes:
    return base64.urlsafe_b64encode(hmac.digest(secret, b"encrypt:api_key", hashlib.sha256))

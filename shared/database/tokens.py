"""API keys and tokens of accounts, stored in the settings of their integrations."""

from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from shared.database.connection import Connection
from shared.errors import InvalidApiKeyError
from shared.tokens import expiry
from shared.tokens.store import StoredCredentials, Token

SETTINGS: Any = dict[str, Any] | None


class StoredTokens:
    """The `TokenStore` (shared/tokens/store.py) in Supabase."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def api_key(self, account: str) -> SecretStr:
        """Return the API key of an account.

        Raises:
            InvalidApiKeyError: the account has no key.
        """
        if key := self.load(account).api_key:
            return key
        msg = f"account {account} has no key: connect it again with force_recreate"
        raise InvalidApiKeyError(msg)

    def load(self, account: str) -> StoredCredentials:
        """Return the API key of an account and its stored token, however old."""
        settings = self._connection.call("wpp_settings", SETTINGS, account=account) or {}
        key = settings.get("wppApiKey")
        return StoredCredentials(
            SecretStr(key) if isinstance(key, str) and key else None, _token(settings)
        )

    def save(self, account: str, token: Token) -> None:
        """Store a token and leave the other settings as they are; a newer token stays."""
        self._connection.call(
            "wpp_save_token",
            bool,
            account=account,
            token=token.value.get_secret_value(),
            expires_at_ms=int(token.expires_at.timestamp() * 1000),
        )


def _token(settings: dict[str, Any]) -> Token | None:
    """Return the token in an integration's settings, or None where it is invalid."""
    value = settings.get("wppJwtToken")
    expires_at_ms = expiry.parse_number(settings.get("wppJwtExpiresAt"))
    if not isinstance(value, str) or expires_at_ms is None:
        return None
    try:
        expires_at = datetime.fromtimestamp(expires_at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # outside of the calendar
        return None
    return Token(SecretStr(value), generation=0, expires_at=expires_at)

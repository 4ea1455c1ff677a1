"""The layer behind Redis: tokens in the integration's settings, which the CRM uses as well."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeGuard

import structlog
from pydantic import SecretStr

from shared.tokens import expiry
from shared.tokens.policy import required_margin_s

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MintedToken:
    """A token from the platform, valid for `lifetime_s` from the answer.

    `full_lifetime_s`: its lifetime from the issue, where that is known to be longer.
    """

    value: SecretStr
    lifetime_s: float
    full_lifetime_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Token:
    """A token in use. A later token has a higher generation; `expires_at` is by local clock."""

    value: SecretStr
    generation: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class StoredCredentials:
    """The stored API key and token of an account, None if absent. The token has generation 0."""

    api_key: SecretStr | None = None
    token: Token | None = None


class TokenStore(Protocol):
    """What the cache needs of the database, which lies in a layer above.

    The store holds `wppApiKey`, `wppJwtToken` and `wppJwtExpiresAt` (ms since 1970) in the settings
    of the integration with this account. Both methods keep to the surrounding deadline.

    Raises:
        PipelineError: the store did not answer.
    """

    def load(self, account: str) -> StoredCredentials:
        """Return the API key and the token that was saved last, however old."""

    def save(self, account: str, token: Token) -> None:
        """Merge the token and its end into the settings; the rest of the settings stays."""


def is_header_safe(value: object) -> TypeGuard[str]:
    """Return whether a token fits into an HTTP header; for example, a line break does not."""
    return (
        isinstance(value, str)
        and value.isascii()
        and value.isprintable()
        and value != ""
        and " " not in value
    )


def compute_seconds_left(token: Token) -> float:
    """Return the seconds left of a stored token, by its stored end or its earlier `exp`.

    The CRM stores an hour when the platform states no lifetime, while the platform's tokens are
    valid for 15 minutes.
    """
    stored = token.expires_at.timestamp()
    exp = expiry.read_expiry_s(token.value.get_secret_value()) or stored
    return min(stored, exp) - time.time()


def read_usable_token(token: Token | None) -> MintedToken | None:
    """Return a stored token with its remaining lifetime, or None if it is not usable."""
    if token is None or not is_header_safe(value := token.value.get_secret_value()):
        return None
    left_s = compute_seconds_left(token)
    full_s = expiry.read_full_lifetime_s(value) or expiry.DEFAULT_LIFETIME_S
    return MintedToken(token.value, left_s, full_s) if left_s > required_margin_s(full_s) else None


class TokenSaver:
    """Saves tokens in the background, because a message must not wait for the store.

    A thread runs while there are tokens to save. It saves the newest token of each account, and
    skips a token for which `is_newest` is false. A failed save is left to the next refresh.
    """

    def __init__(self, store: TokenStore, is_newest: Callable[[str, int], bool]) -> None:
        self._store = store
        self._is_newest = is_newest
        self._waiting: dict[str, Token] = {}
        self._changed = threading.Condition()
        self._running = False

    def put(self, account: str, token: Token) -> None:
        with self._changed:
            known = self._waiting.get(account)
            if known is None or known.generation < token.generation:
                self._waiting[account] = token
            if not self._running:
                threading.Thread(target=self._run, name="token-save", daemon=True).start()
                self._running = True

    def flush(self, timeout_s: float) -> bool:
        """Wait until every token is saved; False if that takes longer than `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._running = False
                    self._changed.notify_all()
                    return
                account = next(iter(self._waiting))
                token = self._waiting.pop(account)
            self._save(account, token)

    def _save(self, account: str, token: Token) -> None:
        try:
            if self._is_newest(account, token.generation):
                self._store.save(account, token)
        except Exception as error:  # noqa: BLE001 - the thread must survive any error of a store
            log.warning("token.save_failed", account=account, error=type(error).__name__)

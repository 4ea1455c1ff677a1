"""Where tokens outlive Redis: the integration's settings in Supabase, which the CRM reads and writes as well."""

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
    """What the platform gave: a token, and the seconds that it lives from the answer on.

    `whole_s`: what it lives from its issue on, where that is known to be more.
    """

    value: SecretStr
    life_s: float
    whole_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Token:
    """A token in use. A higher generation is younger; `expires_at` is by this machine's clock."""

    value: SecretStr
    generation: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class StoredCredentials:
    """What a store has of an account; None for what it has not. Its token has generation 0."""

    api_key: SecretStr | None = None
    token: Token | None = None


class TokenStore(Protocol):
    """`wppApiKey`, `wppJwtToken` and `wppJwtExpiresAt` (ms since 1970) of the integration with this account number.

    Both raise a PipelineError when the store cannot be asked, at the latest when the surrounding deadline ends.
    """

    def load(self, account: str) -> StoredCredentials:
        """Return the key, and the token that was saved last, however old."""

    def save(self, account: str, token: Token) -> None:
        """Merge the token and its end into the settings, leaving every other key as it is."""


def is_header_safe(value: object) -> TypeGuard[str]:
    """Return whether a token can be sent at all: one with a line break, say, breaks the call before it leaves."""
    return (
        isinstance(value, str)
        and value.isascii()
        and value.isprintable()
        and value != ""
        and " " not in value
    )


def compute_seconds_left(token: Token) -> float:
    """Return how long a stored token lives: what was written, or its own `exp` where that is sooner.

    The CRM writes an hour where the platform did not say; the platform's tokens live a quarter of one.
    """
    stored = token.expires_at.timestamp()
    return min(stored, expiry.read_expiry_s(token.value.get_secret_value()) or stored) - time.time()


def read_usable_token(token: Token | None) -> MintedToken | None:
    """Return a stored token and what it has left, if it counts."""
    if token is None or not is_header_safe(value := token.value.get_secret_value()):
        return None
    left_s = compute_seconds_left(token)
    whole_s = expiry.read_full_lifetime_s(value) or expiry.DEFAULT_LIFETIME_S
    return (
        MintedToken(token.value, left_s, whole_s) if left_s > required_margin_s(whole_s) else None
    )


class TokenSaver:
    """Saves tokens behind the back of whoever got them: Supabase may be slow, a message must not wait for it.

    One thread while there is something to save, the newest token of each account, and none that `is_newest` no longer
    holds true for. A save that fails is left to the next refresh: the store is the last layer but one.
    """

    def __init__(self, store: TokenStore, is_newest: Callable[[str, int], bool]) -> None:
        self._store, self._is_newest = store, is_newest
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
        """Wait until nothing is left to save; False if that took longer than `timeout_s`."""
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
        except Exception as error:  # noqa: BLE001 - this thread must outlive whatever a store raises
            log.warning("token.save_failed", account=account, error=type(error).__name__)

"""The nearest layer of the token cache: the tokens in this process's memory."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from shared.tokens.policy import RefreshPolicy
from shared.tokens.single_flight import TokenLifetime
from shared.tokens.store import Token


@dataclass
class TokenEntry:
    """The token of an account. `use_until` is by the process's clock; `lock` guards requests."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    token: Token | None = None
    use_until: float = 0.0

    def find_usable(self, now: float, unwanted: int | None) -> Token | None:
        """Return the token if it is usable at `now` and not of the generation `unwanted`."""
        token = self.token
        is_usable = token and now < self.use_until and token.generation != unwanted
        return token if is_usable else None


class TokenMemory:
    """Entries by account. An entry may be replaced at any moment; reading it takes no lock."""

    def __init__(self, policy: RefreshPolicy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._entries: dict[str, TokenEntry] = {}

    def entry(self, account: str) -> TokenEntry:
        return self._entries.get(account) or self._entries.setdefault(account, TokenEntry())

    def put(
        self, account: str, value: SecretStr, generation: int, lifetime: TokenLifetime, at: float
    ) -> Token:
        """Store a token and return it; its lifetime counts from `at`.

        The process uses the token until its earliest refresh, or for a moment while another
        process refreshes it.
        """
        left_s = lifetime.left_s - (self._clock() - at)
        token = Token(value, generation, datetime.now(UTC) + timedelta(seconds=left_s))
        entry = self.entry(account)
        if entry.token is None or entry.token.generation <= generation:
            entry.token = token
            fresh_s = max(0.25, lifetime.fresh_s)
            entry.use_until = at + min(self._policy.local_ttl_s, fresh_s, lifetime.usable_s)
        return token

    def expire(self, account: str, generation: int) -> None:
        """Stop using the token of this generation."""
        entry = self.entry(account)
        if entry.token and entry.token.generation == generation:
            entry.use_until = 0.0

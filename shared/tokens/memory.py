"""The nearest layer: the tokens that this process knows."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from shared.tokens.policy import RefreshPolicy
from shared.tokens.single_flight import TokenLifetime
from shared.tokens.store import Token


@dataclass
class AccountEntry:
    """One account: its token, until when it may be used unasked, and who may ask Redis."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    token: Token | None = None
    until: float = 0.0

    def usable(self, now: float, unwanted: int | None) -> Token | None:
        token = self.token
        return token if token and now < self.until and token.generation != unwanted else None


class TokenMemory:
    """Slots by account. What is in one may be replaced at any moment; nobody waits to read it."""

    def __init__(self, times: RefreshPolicy, clock: Callable[[], float]) -> None:
        self._times, self._clock = times, clock
        self._slots: dict[str, AccountEntry] = {}

    def slot(self, account: str) -> AccountEntry:
        return self._slots.get(account) or self._slots.setdefault(account, AccountEntry())

    def keep(
        self, account: str, value: SecretStr, generation: int, life: TokenLifetime, at: float
    ) -> Token:
        """Remember a token, whose life counts from `at`, until one may refresh it; a moment while another does."""
        left_s = life.left_s - (self._clock() - at)
        token = Token(value, generation, datetime.now(UTC) + timedelta(seconds=left_s))
        slot = self.slot(account)
        if slot.token is None or slot.token.generation <= generation:
            slot.token = token
            slot.until = at + min(self._times.local_s, max(0.25, life.fresh_s), life.usable_s)
        return token

    def drop(self, account: str, generation: int) -> None:
        slot = self.slot(account)
        if slot.token and slot.token.generation == generation:
            slot.until = 0.0

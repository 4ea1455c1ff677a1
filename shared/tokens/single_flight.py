"""Single flight on Redis: a token is fetched once, and all further requests for it wait.

`single_flight.lua` describes the protocol and its keys. A flight has a fence, a number that only
rises. The elected process must finish its flight with `finish`, `fail` or `refuse`; when its lease
ends first, another process is elected.
"""

from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import uuid4

import redis

from shared.redis import keys
from shared.redis.scripts import LuaScript

SCRIPT = LuaScript.from_package("shared.tokens", "single_flight.lua")
MAX_BLOCK_S = 2.0
"""Longest blocking read of a bell; must stay below the socket timeout of every client."""


@dataclass(frozen=True, slots=True)
class TokenLifetime:
    """Seconds from now: to the token's end, to its last use, and to its earliest refresh."""

    left_s: float
    usable_s: float
    fresh_s: float

    @property
    def in_ms(self) -> tuple[int, int, int]:
        """The arguments of `publish` in single_flight.lua: lifetime, refresh_in, usable_for."""
        return max(1, _to_ms(self.left_s)), _to_ms(self.fresh_s), _to_ms(self.usable_s)


@dataclass(frozen=True, slots=True)
class Cached:
    """A usable token. With a `fence`, the caller is elected to refresh the token early."""

    value: str = field(repr=False)
    generation: int
    lifetime: TokenLifetime
    fence: int | None


@dataclass(frozen=True, slots=True)
class Elected:
    """No token; the caller must fetch it. `after_rejection`: the last token was rejected."""

    fence: int
    after_rejection: bool


@dataclass(frozen=True, slots=True)
class InProgress:
    """No token; the flight with this fence fetches it."""

    fence: int
    lease_s: float


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """The platform refused the account's API key."""

    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    """No token; requests pause after failures or rejections."""

    for_s: float


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No token, no flight, and the caller may not start a flight."""


TokenState = Cached | Elected | InProgress | KeyRefused | Paused | Unavailable


class SingleFlight:
    """The flights of a process. `lease_s` is how long an elected process may take."""

    def __init__(self, client: "redis.Redis", lease_s: float) -> None:
        self.owner = uuid4().hex
        self._redis = client
        self._lease_ms = _to_ms(lease_s)
        self._requests = count(1)

    def request(
        self, account: str, *, unwanted: int | None, may_mint: bool, may_refresh: bool
    ) -> TokenState:
        """Return a token of another generation than `unwanted`, or how to get it.

        A single round trip. Each request has a number: the client repeats the command when its
        reply is lost, and the repetition returns the same election.
        """
        unwanted = -1 if unwanted is None else unwanted
        identity = (self.owner, next(self._requests), self._lease_ms)
        permissions = (int(may_mint), int(may_refresh))
        word, *rest = self._run(account, "request", *identity, unwanted, *permissions)
        match _to_text(word):
            case "cached":
                value, generation, left, usable, fresh, fence = rest
                lifetime = TokenLifetime(left / 1000, usable / 1000, fresh / 1000)
                return Cached(_to_text(value), generation, lifetime, fence or None)
            case "elected":
                return Elected(rest[0], bool(rest[1]))
            case "in_progress":
                return InProgress(int(rest[0]), max(0.0, rest[1] / 1000))
            case "refused":
                return KeyRefused(_to_text(rest[0]))
            case "paused":
                return Paused(rest[0] / 1000)
            case _:
                return Unavailable()

    def wait(self, account: str, fence: int, seconds: float) -> None:
        """Return when the flight has finished, after `seconds`, or earlier; then request again."""
        bell = keys.token_bell(account, fence)
        timeout_s = max(0.01, min(seconds, MAX_BLOCK_S))
        self._redis.blmove(bell, bell, timeout_s)  # type: ignore[arg-type] # may be a fraction

    def take_over(self, account: str) -> int:
        """Start the flight for the first token of a new API key, and return its fence.

        Earlier flights are fenced off.
        """
        arguments = (self.owner, next(self._requests), self._lease_ms)
        return int(self._run(account, "take_over", *arguments))

    def finish(self, account: str, fence: int, value: str, lifetime: TokenLifetime) -> bool:
        """Publish a token. False: a later flight has published, or the token has ended."""
        arguments = (value, self._lease_ms, *lifetime.in_ms)
        return bool(self._run(account, "finish", self.owner, fence, "token", *arguments))

    def fail(self, account: str, fence: int, pause_s: float, max_pause_s: float) -> None:
        """Pause the account for `pause_s`, doubled per failure in a row up to `max_pause_s`."""
        pauses = (_to_ms(pause_s), _to_ms(max_pause_s))
        self._run(account, "finish", self.owner, fence, "failure", *pauses)

    def refuse(self, account: str, fence: int, reason: str, ttl_s: float) -> None:
        """Store for `ttl_s` that the platform refused the account's API key."""
        self._run(account, "finish", self.owner, fence, "refusal", reason, _to_ms(ttl_s))

    def is_refused(self, account: str) -> bool:
        return bool(self._redis.exists(keys.token_refusal(account)))

    def clear_refusal(self, account: str) -> None:
        """Delete the stored refusal of the account's API key."""
        self._redis.delete(keys.token_refusal(account))

    def reject(
        self, account: str, generation: int, min_age_s: float, pause_s: float, max_pause_s: float
    ) -> bool:
        """Remove a token that the platform rejected; False: another generation is stored.

        The second token in a row that was rejected before `min_age_s` pauses the account for
        `pause_s`. Each further rejection doubles it, up to `max_pause_s`.
        """
        limits = (_to_ms(min_age_s), _to_ms(pause_s), _to_ms(max_pause_s))
        return bool(self._run(account, "reject", generation, *limits))

    def is_newest(self, account: str, generation: int) -> bool:
        """Return whether no later generation has been published."""
        newest = self._redis.hget(keys.token(account), "generation")
        return int(newest or 0) == generation

    def _run(self, account: str, operation: str, *arguments: str | float) -> Any:
        return SCRIPT.run(self._redis, [keys.token(account)], [operation, *arguments])


def _to_ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _to_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value

"""Single flight on Redis: of all who need the token of an account, one is elected to get it, the others wait for it.

The protocol and its keys are described in `single_flight.lua`. A flight has a fence: a number that only rises. Whoever is
elected must `land` it; one who does not is replaced when the lease ends.
"""

from dataclasses import dataclass, field
from importlib.resources import files
from itertools import count
from typing import Any
from uuid import uuid4

import redis

SCRIPT = files("shared.tokens").joinpath("single_flight.lua").read_text()
PREFIX = "wpp:token:"
MAX_BLOCK_S = 2.0
"""How long one blocking read of a bell may last; must stay below any client's socket timeout."""


@dataclass(frozen=True, slots=True)
class TokenLifetime:
    """A token's times from now on, in seconds: to its end, to when it no longer counts, to when one may refresh it."""

    left_s: float
    usable_s: float
    fresh_s: float

    @property
    def in_ms(self) -> tuple[int, int, int]:
        """As `publish` in single_flight.lua takes them: life, soft, hard."""
        return max(1, _ms(self.left_s)), _ms(self.fresh_s), _ms(self.usable_s)


@dataclass(frozen=True, slots=True)
class Cached:
    """There is a token. With a `fence`, the asker is elected to refresh it ahead."""

    value: str = field(repr=False)
    generation: int
    life: TokenLifetime
    fence: int | None


@dataclass(frozen=True, slots=True)
class Elected:
    """There is none, and the asker is to get one. `after_refusal`: the last one was refused."""

    fence: int
    after_refusal: bool


@dataclass(frozen=True, slots=True)
class InProgress:
    fence: int
    lease_s: float


@dataclass(frozen=True, slots=True)
class KeyRefused:
    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    for_s: float


@dataclass(frozen=True, slots=True)
class Unavailable:
    """There is no token, nobody is getting one, and the asker said that it may not."""


TokenState = Cached | Elected | InProgress | KeyRefused | Paused | Unavailable


class SingleFlight:
    """`lease_s` is how long an elected asker is waited for."""

    def __init__(self, client: "redis.Redis", lease_s: float) -> None:
        self.owner = uuid4().hex
        self._redis, self._lease_ms = client, _ms(lease_s)
        self._asks = count(1)
        self._script = client.register_script(SCRIPT)

    def ask(
        self, account: str, *, unwanted: int | None, may_mint: bool, may_ahead: bool
    ) -> TokenState:
        """Ask for a token of another generation than `unwanted`, or for what to do to get one. One round trip.

        Each ask has a number: where the reply is lost, and the client repeats the command, an election is told again.
        """
        unwanted = -1 if unwanted is None else unwanted
        who = (self.owner, next(self._asks), self._lease_ms)
        word, *rest = self._run(account, "get", *who, unwanted, int(may_mint), int(may_ahead))
        match _text(word):
            case "use":
                value, generation, left, usable, fresh, fence = rest
                life = TokenLifetime(left / 1000, usable / 1000, fresh / 1000)
                return Cached(_text(value), generation, life, fence or None)
            case "mint":
                return Elected(rest[0], bool(rest[1]))
            case "wait":
                return InProgress(int(rest[0]), max(0.0, rest[1] / 1000))
            case "refused":
                return KeyRefused(_text(rest[0]))
            case "pause":
                return Paused(rest[0] / 1000)
            case _:
                return Unavailable()

    def wait(self, account: str, fence: int, seconds: float) -> None:
        """Return when the flight has landed, or after `seconds`, or sooner: then ask again."""
        bell = f"{_key(account)}:bell:{fence}"
        self._redis.blmove(bell, bell, max(0.01, min(seconds, MAX_BLOCK_S)))  # type: ignore[arg-type] # Redis 6 takes fractions

    def begin(self, account: str) -> int:
        """Take over an account that has a new key; return the fence of the flight that is to land with its token."""
        return int(self._run(account, "begin", self.owner, next(self._asks), self._lease_ms))

    def land(self, account: str, fence: int, value: str, life: TokenLifetime) -> bool:
        """Publish. False: a younger flight has, or the token ended on the way; ask again."""
        return bool(
            self._run(account, "land", self.owner, fence, "ok", value, self._lease_ms, *life.in_ms)
        )

    def fail(self, account: str, fence: int, pause_s: float, longest_s: float) -> None:
        """Let nobody ask for `pause_s`, doubled with each failure in a row up to `longest_s`."""
        self._run(account, "land", self.owner, fence, "fail", _ms(pause_s), _ms(longest_s))

    def refuse(self, account: str, fence: int, reason: str, for_s: float) -> None:
        """Remember that the account's key was refused."""
        self._run(account, "land", self.owner, fence, "refuse", reason, _ms(for_s))

    def is_refused(self, account: str) -> bool:
        return bool(self._redis.exists(f"{_key(account)}:refused"))

    def clear_refusal(self, account: str) -> None:
        """Forget that the account's key was refused."""
        self._redis.delete(f"{_key(account)}:refused")

    def drop(
        self, account: str, generation: int, young_s: float, pause_s: float, longest_s: float
    ) -> bool:
        """Remove a token that was refused, if it is the stored one.

        The second one in a row that was younger than `young_s` pauses the account for `pause_s`, and each further one
        for twice as long, up to `longest_s`.
        """
        return bool(
            self._run(account, "drop", generation, _ms(young_s), _ms(pause_s), _ms(longest_s))
        )

    def is_newest(self, account: str, generation: int) -> bool:
        return int(self._redis.hget(_key(account), "gen") or 0) == generation

    def _run(self, account: str, operation: str, *arguments: str | float) -> Any:
        return self._script(keys=[_key(account)], args=[operation, *arguments])


def _key(account: str) -> str:
    return f"{PREFIX}{{{account}}}"


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value

"""How long things about tokens last, and when a token is to be refreshed."""

import random
from dataclasses import dataclass

from shared.tokens.single_flight import TokenLifetime

MIN_LEFT_S = 60.0
"""A token counts while it has more than this left."""
MINT_TIMEOUT_S = 6.0
"""The call that asks the platform for a token, from its connect to its last byte."""
STORE_TIMEOUT_S = 2.0
"""Reading what the store has of an account."""
MIN_USABLE_S = 10.0


@dataclass(frozen=True)
class RefreshPolicy:
    """In seconds. A flight reads the store and asks the platform, and ends before its lease does."""

    store_s: float = STORE_TIMEOUT_S
    mint_s: float = MINT_TIMEOUT_S
    spare_s: float = 1.0
    refused_s: float = 60.0
    pause_s: float = 1.0
    longest_pause_s: float = 15.0
    young_s: float = 10.0
    """A token that is refused so soon has never worked: the second one in a row holds back the account."""
    strike_s: float = 5.0
    longest_strike_s: float = 60.0
    local_s: float = 30.0
    """How long a process uses a token without looking whether another one has replaced it."""
    fresh: tuple[float, float] = (0.61, 0.75)
    """A token is refreshed from some point in this part of its life on."""

    @property
    def flight_s(self) -> float:
        return self.store_s + self.mint_s

    @property
    def lease_s(self) -> float:
        return self.flight_s + self.spare_s

    def life(self, left_s: float, whole_s: float) -> TokenLifetime:
        """Return when a token with `left_s` of `whole_s` is to be refreshed, and when it no longer counts.

        One that the platform hands out shortly before its end is the best there is, and counts for a moment more:
        else every call would ask for another.
        """
        usable_s = max(left_s - required_margin_s(whole_s), min(left_s / 2, MIN_USABLE_S))
        fresh_s = left_s - whole_s * (1 - jitter(*self.fresh))
        return TokenLifetime(left_s, usable_s, max(0.0, min(fresh_s, usable_s * 0.9)))


def required_margin_s(whole_s: float) -> float:
    """Return how much a token must have left to count: a minute, or a tenth of a life of less than ten."""
    return min(MIN_LEFT_S, whole_s / 10)


def jitter(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 - spreads load, guards nothing

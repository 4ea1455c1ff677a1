"""When a token is refreshed, how long it is used, and the time limits of a refresh."""

import random
from dataclasses import dataclass

from shared.tokens.single_flight import TokenLifetime

MIN_LEFT_S = 60.0
"""A token is usable while it has more than this left."""
MINT_TIMEOUT_S = 6.0
"""Limit for minting a token on the platform, from the connect to the last byte."""
STORE_TIMEOUT_S = 2.0
"""Limit for reading an account's credentials from the store."""
MIN_USABLE_S = 10.0


@dataclass(frozen=True)
class RefreshPolicy:
    """Times in seconds. A flight reads the store and mints a token, and ends before its lease."""

    store_timeout_s: float = STORE_TIMEOUT_S
    mint_timeout_s: float = MINT_TIMEOUT_S
    lease_margin_s: float = 1.0
    refusal_ttl_s: float = 60.0
    pause_s: float = 1.0
    max_pause_s: float = 15.0
    min_age_s: float = 10.0
    """A token rejected at this age has never worked; two in a row pause the account."""
    rejection_pause_s: float = 5.0
    max_rejection_pause_s: float = 60.0
    local_ttl_s: float = 30.0
    """How long a process uses its token without a check for a newer token in Redis."""
    refresh_window: tuple[float, float] = (0.61, 0.75)
    """A token may be refreshed from a random point in this part of its lifetime."""

    @property
    def flight_s(self) -> float:
        return self.store_timeout_s + self.mint_timeout_s

    @property
    def lease_s(self) -> float:
        return self.flight_s + self.lease_margin_s

    def plan_lifetime(self, left_s: float, full_s: float) -> TokenLifetime:
        """Return when to refresh a token with `left_s` of `full_s`, and how long it is usable.

        The platform may hand out a token shortly before its end. No better token exists, so it is
        usable for a moment longer; otherwise every call would request another.
        """
        usable_s = max(left_s - required_margin_s(full_s), min(left_s / 2, MIN_USABLE_S))
        fresh_s = left_s - full_s * (1 - jitter(*self.refresh_window))
        return TokenLifetime(left_s, usable_s, max(0.0, min(fresh_s, usable_s * 0.9)))


def required_margin_s(full_s: float) -> float:
    """Return how much a usable token must have left: a minute, or a tenth of a short lifetime."""
    return min(MIN_LEFT_S, full_s / 10)


def jitter(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 - spreads load, guards nothing

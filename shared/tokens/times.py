"""How long things about tokens last, and when a token is to be refreshed."""

import random
from dataclasses import dataclass

from shared.tokens.flights import Life

MARGIN_S = 60.0
"""A token counts while it has more than this left."""


@dataclass(frozen=True)
class Times:
    """In seconds. `mint_s` is the mint's own wall-clock deadline: less than the lease by what the store may take."""

    lease_s: float = 9.0
    mint_s: float = 6.0
    refused_s: float = 60.0
    pause_s: float = 1.0
    longest_pause_s: float = 15.0
    local_s: float = 30.0
    """How long a process uses a token without looking whether another one has replaced it."""
    fresh: tuple[float, float] = (0.61, 0.75)
    """A token is refreshed from some point in this part of its life on."""

    def life(self, left_s: float, margin_s: float | None = None) -> Life:
        """Return when a token with `left_s` is to be refreshed, and when it no longer counts.

        It counts while it has more than a minute left; one that lives less than ten minutes, while a tenth is left.
        """
        usable_s = left_s - (min(MARGIN_S, left_s / 10) if margin_s is None else margin_s)
        return Life(left_s, usable_s, min(left_s * jitter(*self.fresh), usable_s * 0.9))


def jitter(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 - spreads load, guards nothing

"""Where a token comes from that Redis does not have: the store, which also has the account's key, or the platform."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from shared.errors import InvalidApiKeyError
from shared.http.deadline import within
from shared.tokens import expiry
from shared.tokens.policy import RefreshPolicy
from shared.tokens.single_flight import TokenLifetime
from shared.tokens.store import MintedToken, TokenStore, read_usable_token


@dataclass(frozen=True, slots=True)
class ObtainedToken:
    """A token, its times from `at` on by this process's clock, and whether the store had it."""

    value: SecretStr
    life: TokenLifetime
    at: float
    stored: bool


class TokenSource:
    """One store and one platform. `mint(api_key)` asks it; `clock` tells the seconds that pass."""

    def __init__(
        self,
        mint: Callable[[SecretStr], MintedToken],
        store: TokenStore,
        times: RefreshPolicy,
        clock: Callable[[], float],
    ) -> None:
        self._mint, self._store, self._times, self._clock = mint, store, times, clock

    def obtain(self, account: str, *, look: bool) -> ObtainedToken:
        """Read what the store has, once; take its token if `look` says so and it counts, or ask with its key.

        Raises:
            InvalidApiKeyError: there is no key, or the platform refused it.
            PipelineError: the store or the platform could not be asked.
        """
        started = self._clock()
        with within(self._times.store_s):
            kept = self._store.load(account)
        if look and (valid := read_usable_token(kept.token)):
            return self.found(valid, started, stored=True)
        if kept.api_key is None:
            raise InvalidApiKeyError.missing(account)
        started = self._clock()
        with within(self._times.mint_s):
            return self.found(self._mint(kept.api_key), started, stored=False)

    def found(self, minted: MintedToken, started: float, *, stored: bool) -> ObtainedToken:
        """Return a token with its times. It may be as old as the question for it, which was asked at `started`."""
        at = self._clock()
        left_s = minted.life_s - (at - started)
        whole_s = max(
            minted.life_s,
            minted.whole_s,
            expiry.read_full_lifetime_s(minted.value.get_secret_value()) or 0.0,
        )
        return ObtainedToken(minted.value, self._times.life(left_s, whole_s), at, stored)

"""Runs the flight of an elected process: fetches a token and publishes it to every layer."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from pydantic import SecretStr

from shared import metrics
from shared.errors import InvalidApiKeyError, LimitedError, PipelineError, UnavailableError
from shared.http.deadline import within
from shared.tokens import expiry
from shared.tokens.memory import TokenMemory
from shared.tokens.policy import RefreshPolicy, jitter
from shared.tokens.single_flight import SingleFlight, TokenLifetime
from shared.tokens.store import MintedToken, Token, TokenSaver, TokenStore, read_usable_token

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FetchedToken:
    """A token; its lifetime counts from `at`, by this process's clock."""

    value: SecretStr
    lifetime: TokenLifetime
    at: float
    is_stored: bool


class TokenRefresher:
    """Fetches tokens from the store or the platform; `mint` and `clock` are those of the cache."""

    def __init__(
        self,
        mint: Callable[[SecretStr], MintedToken],
        store: TokenStore,
        flights: SingleFlight,
        memory: TokenMemory,
        policy: RefreshPolicy,
        clock: Callable[[], float],
    ) -> None:
        self._mint = mint
        self._store = store
        self._flights = flights
        self._memory = memory
        self._policy = policy
        self._clock = clock
        self._saver = TokenSaver(store, flights.is_newest)

    def run_flight(self, account: str, fence: int, *, use_stored: bool) -> Token | None:
        """Fetch a token and publish it under `fence`; None: a later flight has published.

        Raises:
            InvalidApiKeyError: the account has no API key, or the platform refused the key.
            PipelineError: the store or the platform did not answer.
        """
        try:
            with within(self._policy.flight_s):
                fetched = self._fetch(account, use_stored=use_stored)
        except BaseException as error:  # noqa: BLE001 - an interrupt must end the flight as well
            raise self._record_failure(account, fence, error) from None
        return self._publish(account, fence, fetched)

    def install_first_token(self, account: str, mint: Callable[[], MintedToken]) -> None:
        """Take the account over and publish the token that `mint` returns; raises its errors."""
        fence = self._flights.take_over(account)
        started = self._clock()
        try:
            minted = mint()
        except BaseException as error:
            self._record_failure(account, fence, error)
            raise
        self._publish(account, fence, self._plan(minted, started, is_stored=False))

    def flush(self, timeout_s: float) -> bool:
        """Wait until the store has every token; False after `timeout_s`."""
        return self._saver.flush(timeout_s)

    def _fetch(self, account: str, *, use_stored: bool) -> FetchedToken:
        """Read the store once; return its token if allowed and usable, else mint with its key."""
        started = self._clock()
        with within(self._policy.store_timeout_s):
            credentials = self._store.load(account)
        if use_stored and (usable := read_usable_token(credentials.token)):
            return self._plan(usable, started, is_stored=True)
        if credentials.api_key is None:
            raise InvalidApiKeyError.missing(account)
        started = self._clock()
        with within(self._policy.mint_timeout_s):
            return self._plan(self._measured_mint(credentials.api_key), started, is_stored=False)

    def _measured_mint(self, api_key: SecretStr) -> MintedToken:
        started_s = time.monotonic()
        result = "failed"
        try:
            minted = self._mint(api_key)
            result = "minted"
        finally:
            metrics.count("wpp_token_mints_total", result)
            metrics.observe("wpp_token_mint_seconds", time.monotonic() - started_s)
        return minted

    def _plan(self, minted: MintedToken, started: float, *, is_stored: bool) -> FetchedToken:
        """Return a token with its lifetime, which may have begun when the request `started`."""
        at = self._clock()
        left_s = minted.lifetime_s - (at - started)
        claimed_s = expiry.read_full_lifetime_s(minted.value.get_secret_value()) or 0.0
        full_s = max(minted.lifetime_s, minted.full_lifetime_s, claimed_s)
        lifetime = self._policy.plan_lifetime(left_s, full_s)
        return FetchedToken(minted.value, lifetime, at, is_stored)

    def _publish(self, account: str, fence: int, fetched: FetchedToken) -> Token | None:
        value = fetched.value.get_secret_value()
        if not self._flights.finish(account, fence, value, fetched.lifetime):
            return None
        log.info(
            "token.refreshed",
            account=account,
            generation=fence,
            lifetime_s=round(fetched.lifetime.left_s),
            stored=fetched.is_stored,
        )
        token = self._memory.put(account, fetched.value, fence, fetched.lifetime, fetched.at)
        if not fetched.is_stored:
            self._saver.put(account, token)
        return token

    def _record_failure(self, account: str, fence: int, error: BaseException) -> BaseException:
        """End a flight without a token, and return the error for its caller."""
        policy = self._policy
        if isinstance(error, InvalidApiKeyError):
            self._flights.refuse(account, fence, str(error), policy.refusal_ttl_s)
            return error
        retry_after_s = getattr(error, "retry_after_s", None) or 0.0
        pause_s = max(policy.pause_s * jitter(0.7, 1.3), retry_after_s)
        self._flights.fail(account, fence, pause_s, max(pause_s, policy.max_pause_s))
        if isinstance(error, LimitedError) or not isinstance(error, PipelineError):
            return error
        return UnavailableError(f"No token for account {account}: {error}", retry_after_s=pause_s)

"""TokenCache: a token is requested from the platform once for all workers that need it.

The layers, nearest first: this process's memory, Redis (`SingleFlight`), the `TokenStore`
(Supabase), and the platform. A worker refreshes a token ahead of its end while the rest use it.
Without a token, a single worker fetches it and the rest wait for its result. A flight reads the
store once and calls the platform once, and ends before its lease does. A lease cannot stop a holder
that is paused for longer; the only cost is an extra mint.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis
import structlog
from pydantic import SecretStr

from shared.errors import InvalidApiKeyError, TokenPausedError, UnavailableError
from shared.tokens.memory import TokenMemory
from shared.tokens.policy import RefreshPolicy, jitter
from shared.tokens.refresh import TokenRefresher
from shared.tokens.single_flight import (
    Cached,
    Elected,
    InProgress,
    KeyRefused,
    Paused,
    SingleFlight,
    TokenState,
)
from shared.tokens.store import MintedToken, Token, TokenStore

MAX_REFRESHES = 4
"""Threads of a process that refresh tokens ahead of their end."""
log = structlog.get_logger(__name__)


class TokenCache:
    """Tokens by account for all threads of this process and, through Redis, for all processes.

    `mint(api_key)` returns a new token. It raises InvalidApiKeyError when the platform refused the
    key, and another PipelineError when the platform did not answer. `mint` and `store` keep to the
    surrounding deadline.
    """

    def __init__(
        self,
        client: "redis.Redis",
        mint: Callable[[SecretStr], MintedToken],
        store: TokenStore,
        policy: RefreshPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy or RefreshPolicy()
        self._clock = clock
        self._flights = SingleFlight(client, self._policy.lease_s)
        self._memory = TokenMemory(self._policy, clock)
        self._refresher = TokenRefresher(
            mint, store, self._flights, self._memory, self._policy, clock
        )
        self._refreshes = threading.BoundedSemaphore(MAX_REFRESHES)

    def find(self, account: str) -> Token | None:
        """Return a usable token of this process or of Redis, or None; requests none.

        Raises:
            UnavailableError: Redis did not answer.
        """
        now = self._clock()
        if token := self._memory.entry(account).find_usable(now, None):
            return token
        with _map_redis_errors(account):
            state = self._flights.request(account, unwanted=None, may_mint=False, may_refresh=False)
        if not isinstance(state, Cached):
            return None
        value = SecretStr(state.value)
        return self._memory.put(account, value, state.generation, state.lifetime, now)

    def get(
        self,
        account: str,
        *,
        timeout_s: float = 20.0,
        not_generation: int | None = None,
        refresh_ahead: bool = True,
    ) -> Token:
        """Return a usable token of another generation than `not_generation`, within `timeout_s`.

        With `refresh_ahead`, a token that ends soon is refreshed in the background meanwhile.

        The call may run a flight longer. It starts a flight only in the first half of
        `timeout_s`, or while enough time is left for the flight, and never in the last second: a
        flight that is cut short would look like an outage of the platform.

        Raises:
            InvalidApiKeyError: the platform refused the account's API key within the last minute.
            LimitedError, UnavailableError: no token now; nothing was sent, so try again later.
        """
        entry = self._memory.entry(account)
        if token := entry.find_usable(self._clock(), not_generation):
            return token
        end = self._clock() + timeout_s
        if not entry.lock.acquire(timeout=max(0.0, timeout_s)):
            raise _build_timeout_error(account)
        try:
            with _map_redis_errors(account):
                token = entry.find_usable(self._clock(), not_generation)
                return token or self._wait_for_token(
                    account, end, not_generation, refresh_ahead=refresh_ahead
                )
        finally:
            entry.lock.release()

    def install_first_token(self, account: str, mint: Callable[[], MintedToken]) -> None:
        """Publish the first token of a new API key, which `mint` returns.

        Clears a refusal of the old key and fences off earlier flights. Until `mint` returns, no
        further flight uses the new key.

        Raises:
            UnavailableError: Redis did not answer. Errors of `mint` are raised unchanged.
        """
        with _map_redis_errors(account):
            self._refresher.install_first_token(account, mint)

    def invalidate(self, account: str, generation: int) -> bool:
        """Drop the token of this generation, which the platform rejected.

        Returns False when another generation has replaced it. Two tokens in a row that were
        rejected right after their issue pause the account.
        """
        self._memory.expire(account, generation)
        policy = self._policy
        limits = (policy.min_age_s, policy.rejection_pause_s, policy.max_rejection_pause_s)
        with _map_redis_errors(account):
            return self._flights.reject(account, generation, *limits)

    def is_refused(self, account: str) -> bool:
        """Return whether a refusal of the account's API key is stored.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        return self._flights.is_refused(account)

    def clear_refusal(self, account: str) -> None:
        """Allow a request with an API key that the platform refused before.

        Raises:
            UnavailableError: Redis did not answer.
        """
        with _map_redis_errors(account):
            self._flights.clear_refusal(account)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until the store has every token; False if that takes longer than `timeout_s`."""
        return self._refresher.flush(timeout_s)

    def _wait_for_token(
        self, account: str, end: float, unwanted: int | None, *, refresh_ahead: bool
    ) -> Token:
        min_left_s = min(self._policy.flight_s, max((end - self._clock()) / 2, 1.0))
        while True:
            now = self._clock()
            left_s = end - now
            may_mint = left_s >= min_left_s
            match self._request(account, unwanted, may_mint, refresh_ahead):
                case Cached(value, generation, lifetime):
                    return self._memory.put(account, SecretStr(value), generation, lifetime, now)
                case Elected(fence, after_rejection):
                    use_stored = not after_rejection
                    if token := self._refresher.run_flight(account, fence, use_stored=use_stored):
                        return token
                case InProgress(fence, lease_s) if left_s > 0:
                    wait_s = min(left_s, lease_s + jitter(0.005, 0.05))
                    self._flights.wait(account, fence, wait_s)
                case KeyRefused(reason):
                    raise InvalidApiKeyError(reason)
                case Paused(for_s):
                    msg = f"No token for account {account}: paused after failures or rejections"
                    raise TokenPausedError(msg, retry_after_s=for_s)
                case _:
                    raise _build_timeout_error(account)

    def _request(
        self,
        account: str,
        unwanted: int | None,
        may_mint: bool,  # noqa: FBT001 - private, and named by its caller
        refresh_ahead: bool,  # noqa: FBT001
    ) -> TokenState:
        """Request a token from Redis; start a thread when elected to refresh it ahead."""
        is_free = refresh_ahead and self._refreshes.acquire(blocking=False)
        is_started = False
        try:
            state = self._flights.request(
                account, unwanted=unwanted, may_mint=may_mint, may_refresh=is_free
            )
            if isinstance(state, Cached) and state.fence:
                name = f"token-refresh-{account}"
                arguments = (account, state.fence)
                threading.Thread(
                    target=self._refresh, args=arguments, name=name, daemon=True
                ).start()
                is_started = True
            return state
        finally:
            if is_free and not is_started:
                self._refreshes.release()

    def _refresh(self, account: str, fence: int) -> None:
        try:
            self._refresher.run_flight(account, fence, use_stored=False)
        except Exception as error:  # noqa: BLE001 - a thread of its own has no caller
            log.warning("token.refresh_failed", account=account, error=type(error).__name__)
        finally:
            self._refreshes.release()


@contextmanager
def _map_redis_errors(account: str) -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        msg = f"No token for account {account}: Redis did not answer ({type(error).__name__})"
        raise UnavailableError(msg) from error


def _build_timeout_error(account: str) -> UnavailableError:
    msg = f"No token for account {account} in time: another worker is fetching it"
    return UnavailableError(msg)

"""TokenCache: however many workers need the token of an account, one of them asks the platform.

Layers, nearest first: this process, Redis (`Flights`), the `TokenStore` (Supabase), then `mint`, which asks the
platform. A token is refreshed by one, ahead of its end, while the others go on using it; when there is none, one gets
it and the others wake with its answer. A flight, which reads the store once and asks the platform once, ends before its
lease does. What a lease cannot promise: a holder that is paused for longer costs one extra mint, and nothing else.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis
import structlog
from pydantic import SecretStr

from shared.errors import (
    InvalidApiKeyError,
    LimitedError,
    PipelineError,
    TokenPausedError,
    UnavailableError,
)
from shared.http.deadline import within
from shared.tokens.memory import TokenMemory
from shared.tokens.policy import RefreshPolicy, jitter
from shared.tokens.single_flight import (
    Cached,
    Elected,
    InProgress,
    KeyRefused,
    Paused,
    SingleFlight,
)
from shared.tokens.source import ObtainedToken, TokenSource
from shared.tokens.store import MintedToken, Token, TokenSaver, TokenStore

log = structlog.get_logger(__name__)


class TokenCache:
    """Tokens by account for all threads of this process and, through Redis, for all processes.

    `mint(api_key)` returns a new token, or raises InvalidApiKeyError when the key was refused, and any other
    PipelineError when it could not ask; the store has the keys. Both keep to the deadline around them.
    """

    def __init__(
        self,
        client: "redis.Redis",
        mint: Callable[[SecretStr], MintedToken],
        store: TokenStore,
        times: RefreshPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._times = times or RefreshPolicy()
        self._source, self._clock = TokenSource(mint, store, self._times, clock), clock
        self._flights = SingleFlight(client, self._times.lease_s)
        self._local = TokenMemory(self._times, clock)
        self._refreshers = threading.BoundedSemaphore(4)
        self._saver = TokenSaver(store, self._flights.is_newest)

    def get(
        self, account: str, *, timeout_s: float = 20.0, not_generation: int | None = None
    ) -> Token:
        """Return a token that counts and is not of `not_generation`, within `timeout_s` (or one flight).

        Begins to ask the platform itself only in the first half of `timeout_s`, or while there is time enough, and
        never in its last second: a call cut short would look like a platform that is away.

        Raises:
            InvalidApiKeyError: the platform refused the account's key, now or within the last minute.
            LimitedError, UnavailableError: no token to be had now. Nothing was sent; try again later.
        """
        slot = self._local.slot(account)
        if token := slot.usable(self._clock(), not_generation):
            return token
        end = self._clock() + timeout_s
        if not slot.lock.acquire(timeout=max(0.0, timeout_s)):
            raise _late(account)
        try:
            with _redis_answers(account):
                return slot.usable(self._clock(), not_generation) or self._get(
                    account, end, not_generation
                )
        finally:
            slot.lock.release()

    def install_first_token(self, account: str, mint: Callable[[], MintedToken]) -> None:
        """Have `mint` get the first token of a new key, and take it; also forgets a refusal of the old key.

        Flights that began before are fenced off, and while this one lasts nobody else asks with the new key. Raises
        what `mint` does, and UnavailableError.
        """
        with _redis_answers(account):
            fence = self._flights.begin(account)
            started = self._clock()
            try:
                minted = mint()
            except BaseException as error:
                self._failed(account, fence, error)
                raise
            self._land(account, fence, self._source.found(minted, started, stored=False))

    def invalidate(self, account: str, generation: int) -> bool:
        """Drop the token of this generation, which was refused. False: somebody has replaced it already.

        When the one before it was refused as well, and each as soon as it came, nobody asks for another for a while.
        """
        self._local.drop(account, generation)
        times = self._times
        with _redis_answers(account):
            return self._flights.drop(
                account, generation, times.young_s, times.strike_s, times.longest_strike_s
            )

    def is_refused(self, account: str) -> bool:
        """Return whether it is remembered that the account's key was refused, and nobody has repaired it since.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        return self._flights.is_refused(account)

    def clear_refusal(self, account: str) -> None:
        """Ask the platform once more although it refused the account's key: somebody says that it takes it now.

        Raises:
            UnavailableError: Redis did not answer.
        """
        with _redis_answers(account):
            self._flights.clear_refusal(account)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until the store has every token; False if it does not within `timeout_s`."""
        return self._saver.flush(timeout_s)

    def _get(self, account: str, end: float, unwanted: int | None) -> Token:
        enough_s = min(self._times.flight_s, max((end - self._clock()) / 2, 1.0))
        while True:
            now = self._clock()
            left_s = end - now
            match self._ask(account, unwanted, may_mint=left_s >= enough_s):
                case Cached() as held:
                    return self._local.keep(
                        account, SecretStr(held.value), held.generation, held.life, now
                    )
                case Elected(fence=fence, after_refusal=after_refusal):
                    if token := self._fly(account, fence, look=not after_refusal):
                        return token
                case InProgress(fence=fence, lease_s=lease_s) if left_s > 0:
                    self._flights.wait(account, fence, min(left_s, lease_s + jitter(0.005, 0.05)))
                case KeyRefused(reason=reason):
                    raise InvalidApiKeyError(reason)
                case Paused(for_s=for_s):
                    msg = f"no token for account {account}: a moment ago none was to be had, or none was taken"
                    raise TokenPausedError(msg, retry_after_s=for_s)
                case _:
                    raise _late(account)

    def _ask(self, account: str, unwanted: int | None, *, may_mint: bool) -> object:
        """Ask Redis what to do. When this process is elected to refresh ahead, one of its few threads does so."""
        free = self._refreshers.acquire(blocking=False)
        handed_over = False
        try:
            answer = self._flights.ask(
                account, unwanted=unwanted, may_mint=may_mint, may_ahead=free
            )
            if isinstance(answer, Cached) and answer.fence:
                work = (account, answer.fence)
                threading.Thread(
                    target=self._refresh, args=work, name=f"token-refresh-{account}", daemon=True
                ).start()
                handed_over = True
            return answer
        finally:
            if free and not handed_over:
                self._refreshers.release()

    def _refresh(self, account: str, fence: int) -> None:
        try:
            self._fly(account, fence, look=False)
        except Exception as error:  # noqa: BLE001 - nobody is there to be told
            log.warning("token.refresh_failed", account=account, error=type(error).__name__)
        finally:
            self._refreshers.release()

    def _fly(self, account: str, fence: int, *, look: bool) -> Token | None:
        """Get a token and publish it under `fence`. None: a younger one was there first."""
        try:
            with within(self._times.flight_s):
                found = self._source.obtain(account, look=look)
        except BaseException as error:  # noqa: BLE001 - an interrupt, too, must end the flight; all are raised again
            raise self._failed(account, fence, error) from None
        return self._land(account, fence, found)

    def _land(self, account: str, fence: int, found: ObtainedToken) -> Token | None:
        if not self._flights.land(account, fence, found.value.get_secret_value(), found.life):
            return None
        life_s = round(found.life.left_s)
        log.info(
            "token.refreshed", account=account, generation=fence, life_s=life_s, stored=found.stored
        )
        token = self._local.keep(account, found.value, fence, found.life, found.at)
        if not found.stored:
            self._saver.put(account, token)
        return token

    def _failed(self, account: str, fence: int, error: BaseException) -> BaseException:
        """Land a flight that brought nothing; return what its caller is told."""
        if isinstance(error, InvalidApiKeyError):
            self._flights.refuse(account, fence, str(error), self._times.refused_s)
            return error
        told_s = getattr(error, "retry_after_s", None) or 0.0
        pause_s = max(self._times.pause_s * jitter(0.7, 1.3), told_s)
        self._flights.fail(account, fence, pause_s, max(pause_s, self._times.longest_pause_s))
        if isinstance(error, LimitedError) or not isinstance(error, PipelineError):
            return error
        return UnavailableError(f"no token for account {account}: {error}", retry_after_s=pause_s)


@contextmanager
def _redis_answers(account: str) -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        msg = f"no token for account {account}: Redis did not answer ({type(error).__name__})"
        raise UnavailableError(msg) from error


def _late(account: str) -> UnavailableError:
    return UnavailableError(f"no token for account {account} in time: another worker is getting it")

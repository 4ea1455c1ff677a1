"""TokenAuth: adds an account's token to each of its calls."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import httpx
import structlog

from shared.errors import PipelineError, UnavailableError
from shared.http.deadline import remaining
from shared.tokens.cache import TokenCache
from shared.tokens.store import Token

TOKEN_TIMEOUT_S = 20.0
log = structlog.get_logger(__name__)


class TokenAuth(httpx.Auth):
    """Adds the account's token. After a 401 it drops the token and repeats the call once.

    Any failure to get a token is raised as a PipelineError of an unsent call. Without
    `refresh_ahead` the call is no reason to refresh a token that is still usable.
    """

    def __init__(self, cache: TokenCache, account: str, *, refresh_ahead: bool = True) -> None:
        self._cache = cache
        self._account = account
        self._refresh_ahead = refresh_ahead

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        token: Token | None = None
        for _ in range(2):
            with self._map_errors():
                token = self._get_other_token(token)
            request.headers["Authorization"] = f"Bearer {token.value.get_secret_value()}"
            response = yield request
            if response.status_code != httpx.codes.UNAUTHORIZED:
                return
            with self._map_errors():
                self._cache.invalidate(self._account, token.generation)

    def _get_other_token(self, rejected: Token | None) -> Token:
        return self._cache.get(
            self._account,
            timeout_s=min(TOKEN_TIMEOUT_S, remaining()),
            not_generation=rejected.generation if rejected else None,
            refresh_ahead=self._refresh_ahead,
        )

    @contextmanager
    def _map_errors(self) -> Iterator[None]:
        """Raise an unexpected error as UnavailableError: nothing was sent."""
        try:
            yield
        except PipelineError:
            raise
        except Exception as error:
            log.exception("token.unexpected_error", account=self._account)
            msg = f"No token for account {self._account}: internal error ({type(error).__name__})"
            raise UnavailableError(msg) from None

"""TokenAuth: carries an account's token on each of its calls."""

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
    """Carries the account's token. One that is refused (401) is dropped and the call repeated with another, once.

    Whatever goes wrong over the token is raised as a PipelineError that says that nothing was sent.
    """

    def __init__(self, cache: TokenCache, account: str) -> None:
        self._cache, self._account = cache, account

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        token: Token | None = None
        for _ in range(2):
            with self._nothing_sent():
                token = self._other_than(token)
            request.headers["Authorization"] = f"Bearer {token.value.get_secret_value()}"
            response = yield request
            if response.status_code != httpx.codes.UNAUTHORIZED:
                return
            with self._nothing_sent():
                self._cache.invalidate(self._account, token.generation)

    def _other_than(self, refused: Token | None) -> Token:
        left_s = min(TOKEN_TIMEOUT_S, remaining())
        return self._cache.get(
            self._account, timeout_s=left_s, not_generation=refused.generation if refused else None
        )

    @contextmanager
    def _nothing_sent(self) -> Iterator[None]:
        try:
            yield
        except PipelineError:
            raise
        except Exception as error:
            log.exception("token.surprise", account=self._account)
            msg = f"no token for account {self._account}: an error on our side ({type(error).__name__})"
            raise UnavailableError(msg) from None

"""Client of the WPP Platform: creates accounts, mints tokens, and opens the calls of an account.

A process has a single `Platform` with a single pool of connections for all its threads. The client
knows tokens only as an `httpx.Auth`, and does not use the database:

    platform = Platform(settings, breaker=breaker)
    tokens = TokenCache(redis, platform.mint_token, database)

    created = platform.create_client(organization_id)
    tokens.install_first_token(
        created.account, lambda: platform.mint_first_token(created.api_key)
    )
    account = platform.as_account(created.account, TokenAuth(tokens, created.account))
    account.register_webhook(url)
    started = account.start()
    sent = account.send(event)

Every call may raise the errors that `shared.platform.failures` lists.
"""

import time
from collections.abc import Callable, Generator
from typing import Self

import httpx
from pydantic import SecretStr
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_incrementing

from shared.errors import InvalidApiKeyError
from shared.http.deadline import within
from shared.http.transports import open_transport
from shared.platform import endpoints
from shared.platform.account import PlatformAccount
from shared.platform.circuit_breaker import CircuitBreaker
from shared.platform.circuit_breaker_transport import CircuitBreakerTransport
from shared.platform.failures import build_unreadable_error
from shared.platform.http import PlatformHttp
from shared.platform.models import CreatedClient
from shared.platform.traced_transport import TracedTransport
from shared.settings import PlatformSettings
from shared.tokens import expiry
from shared.tokens.policy import MINT_TIMEOUT_S
from shared.tokens.store import MintedToken, is_header_safe
from shared.traces import find_traces

NO_AUTH = httpx.Auth()


class BearerAuth(httpx.Auth):
    def __init__(self, secret: SecretStr) -> None:
        self._secret = secret

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._secret.get_secret_value()}"
        yield request


class Platform:
    """`deadline_s` limits a whole call. `transport` replaces the network in tests."""

    def __init__(
        self,
        settings: PlatformSettings,
        *,
        breaker: CircuitBreaker | None = None,
        transport: httpx.BaseTransport | None = None,
        deadline_s: float = 20.0,
    ) -> None:
        transport = transport or open_transport(settings.wpp_http_transport)
        if traces := find_traces():
            transport = TracedTransport(transport, traces)
        if breaker:
            transport = CircuitBreakerTransport(transport, breaker)
        self._http = PlatformHttp(str(settings.wpp_base_url), transport, deadline_s)
        self._breaker = breaker
        self._secret_auth = BearerAuth(settings.wpp_secret)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def as_account(self, account: str, auth: httpx.Auth) -> PlatformAccount:
        """Return the calls for `account`; `auth` adds its token."""
        return PlatformAccount(self._http, account, auth, self._breaker)

    def create_client(self, organization_id: str) -> CreatedClient:
        """Create the client of an organization id, or return its existing client.

        An id has a single key and account. A further number of the same organization therefore
        needs an id of its own.
        """
        body = {"organizationId": organization_id}
        response = self._http.request(endpoints.CREATE, self._secret_auth, body)
        key = response.identifier("apiKey")
        account = response.identifier("session", "account", "number")
        if not key or not account:
            reason = "no apiKey or no session"
            raise build_unreadable_error(endpoints.CREATE, response.status, reason)
        return CreatedClient(SecretStr(key), account, response.keyword("status") or "starting")

    def mint_token(self, api_key: SecretStr) -> MintedToken:
        """Exchange an API key for a token, within `MINT_TIMEOUT_S`.

        Raises:
            InvalidApiKeyError: the platform refused the key; the message names the remedy.
        """
        body = {"apiKey": api_key.get_secret_value()}
        response = self._http.request(endpoints.TOKEN, NO_AUTH, body, deadline_s=MINT_TIMEOUT_S)
        token = response.first("token", "accessToken", "access_token")
        if not is_header_safe(token):
            raise build_unreadable_error(endpoints.TOKEN, response.status, "no token")
        lifetime_s = expiry.compute_lifetime_s(
            token, platform_now_s=response.date_s, expires_in=response.first("expiresIn")
        )
        return MintedToken(SecretStr(token), lifetime_s)

    def mint_first_token(
        self, api_key: SecretStr, sleep: Callable[[float], None] = time.sleep
    ) -> MintedToken:
        """Return the first token of a new key, which the platform may refuse for some seconds.

        Tries again after 1, 2 and 3 s.

        Raises:
            InvalidApiKeyError: the platform refused the key four times.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(InvalidApiKeyError),
            wait=wait_incrementing(start=1, increment=1),
            stop=stop_after_attempt(4),
            sleep=sleep,
            reraise=True,
        )
        with within(self._http.deadline_s):
            return retrying(self.mint_token, api_key)

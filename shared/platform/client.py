"""The WPP Platform: everything that we say to it, and what its answers mean.

One `Platform` per process: one pool of connections, used by any number of threads. It knows accounts and tokens only
as an `httpx.Auth`, and nothing of the database. The parts are put together like this:

    platform = Platform(settings, auth=lambda account: TokenAuth(tokens, account))
    tokens = TokenCache(redis, platform.mint_token, database)

    client = platform.create_client(organization_id)                            # a new number:
    tokens.adopt(client.account, lambda: platform.initial_token(client.api_key))    # its first token
    platform.register_webhook(client.account, url)
    started = platform.start(client.account)
    sent = platform.send(client.account, event)

Every call may raise what `shared.wpp.verdicts` lists, and InvalidApiKeyError when no token is to be had for the account
because its key was refused.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from email.message import Message as Headers
from pathlib import PurePath
from typing import Any, Self

import httpx
from pydantic import SecretStr
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_incrementing

from shared.errors import InvalidApiKeyError, RefusedError
from shared.events import SendEvent
from shared.http.deadline import within
from shared.http.transports import open_transport
from shared.platform import endpoints, payloads
from shared.platform.circuit_breaker import CircuitBreaker
from shared.platform.endpoints import Endpoint
from shared.platform.failures import build_unreadable_error
from shared.platform.guard import CircuitBreakerTransport
from shared.platform.http import PlatformHttp
from shared.platform.models import (
    AccountStatus,
    CreatedClient,
    MediaDownload,
    QrCode,
    SendResult,
    StartResult,
)
from shared.platform.responses import PlatformResponse
from shared.settings import PlatformSettings
from shared.tokens import expiry
from shared.tokens.policy import MINT_TIMEOUT_S
from shared.tokens.store import MintedToken, is_header_safe

MEDIA_TIMEOUT_S = 60.0
CONNECTED, STARTING = {"connected", "ready"}, {"starting", "pending"}
OFFLINE = {"offline", "disconnected", "logout"}
NO_AUTH = httpx.Auth()


class BearerAuth(httpx.Auth):
    def __init__(self, secret: SecretStr) -> None:
        self._secret = secret

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._secret.get_secret_value()}"
        yield request


class Platform:
    """`auth(account)` carries the account's token. `transport` is for tests; `deadline_s` is for one whole call."""

    def __init__(
        self,
        settings: PlatformSettings,
        auth: Callable[[str], httpx.Auth],
        *,
        breaker: CircuitBreaker | None = None,
        transport: httpx.BaseTransport | None = None,
        deadline_s: float = 20.0,
    ) -> None:
        wire = transport or open_transport(settings.wpp_http_transport)
        guarded = CircuitBreakerTransport(wire, breaker) if breaker else wire
        self._exchange = PlatformHttp(str(settings.wpp_base_url), guarded, deadline_s)
        self._auth, self._secret, self._deadline_s = (
            auth,
            BearerAuth(settings.wpp_secret),
            deadline_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._exchange.close()

    def create_client(self, organization_id: str) -> CreatedClient:
        """Create the client of an organization id, or get back the one that it has.

        One id is one key and one account: a further number of the same organization needs a made-up id of its own.
        """
        answer = self._exchange.ask(
            endpoints.CREATE, self._secret, {"organizationId": organization_id}
        )
        key, account = (
            answer.identifier("apiKey"),
            answer.identifier("session", "account", "number"),
        )
        if not key or not account:
            raise build_unreadable_error(
                endpoints.CREATE, answer.status, "it has no apiKey or no session"
            )
        return CreatedClient(SecretStr(key), account, answer.word("status") or "starting")

    def mint_token(self, api_key: SecretStr) -> MintedToken:
        """Exchange a key for a token, within `MINT_S`.

        Raises:
            InvalidApiKeyError: the key was refused, with the way out.
        """
        body = {"apiKey": api_key.get_secret_value()}
        answer = self._exchange.ask(endpoints.TOKEN, NO_AUTH, body, deadline_s=MINT_TIMEOUT_S)
        token = answer.first("token", "accessToken", "access_token")
        if not is_header_safe(token):
            raise build_unreadable_error(endpoints.TOKEN, answer.status, "it has no token")
        life_s = expiry.compute_lifetime_s(
            token, platform_now_s=answer.date_s, expires_in=answer.first("expiresIn")
        )
        return MintedToken(SecretStr(token), life_s)

    def mint_first_token(
        self, api_key: SecretStr, sleep: Callable[[float], None] = time.sleep
    ) -> MintedToken:
        """Return the first token of a new key, which the platform may refuse for its first seconds.

        Asks again after 1, 2 and 3 s, and only then raises InvalidApiKeyError.
        """
        again = Retrying(
            retry=retry_if_exception_type(InvalidApiKeyError),
            wait=wait_incrementing(start=1, increment=1),
            stop=stop_after_attempt(4),
            sleep=sleep,
            reraise=True,
        )
        with within(self._deadline_s):
            return again(self.mint_token, api_key)

    def start(self, account: str) -> StartResult:
        """Start the account; at best it says at once that it is connected, or what to scan."""
        answer = self._ask(endpoints.START, account, {"number": account})
        if qr := _qr(answer):
            return StartResult("qr", qr)
        return StartResult(
            "connected" if answer.word("status", "state") in CONNECTED else "starting", None
        )

    def status(self, account: str) -> AccountStatus:
        answer = self._ask(endpoints.STATUS, account)
        word = answer.word("status", "state")
        if not word:
            raise build_unreadable_error(endpoints.STATUS, answer.status, "it has no status")
        if word in CONNECTED:
            return "connected"
        if word in STARTING:
            return "starting"
        return "offline" if word in OFFLINE else "qr_required"

    def qr(self, account: str) -> QrCode | None:
        """Return what to scan, or None while there is nothing."""
        return _qr(self._ask(endpoints.QR, account))

    def register_webhook(self, account: str, url: str) -> None:
        self._ask(endpoints.WEBHOOK, account, {"url": url})

    def stop(self, account: str) -> None:
        self._ask(endpoints.STOP, account)

    def send(self, account: str, event: SendEvent) -> SendResult:
        """Send one message.

        Raises:
            UnknownEffectError: nobody can know whether the platform took it. Any other error: it did not.
        """
        endpoint, body = payloads.build_message(account, event)
        answer = self._ask(endpoint, account, body)
        if answer.fields is None:
            raise build_unreadable_error(endpoint, answer.status, "it is no JSON object")
        if answer.mentions_error and not answer.task_id:
            raise build_unreadable_error(
                endpoint, answer.status, "it is a success with an error, and names no message"
            )
        return SendResult(answer.task_id)

    def delete(self, account: str, task_id: str) -> bool:
        """Delete a message for everyone. False: the platform does not know it (any more)."""
        try:
            self._ask(endpoints.DELETE, account, task_id=task_id)
        except RefusedError as error:
            if error.status in {400, 404} or "not found" in str(error).lower():
                return False
            raise
        return True

    def react(self, account: str, to: str, wa_message_id: str, emoji: str) -> None:
        """Put a reaction on a message, named by its WhatsApp id; `to` is international digits."""
        body = {"to": f"+{to.lstrip('+')}", "waMessageId": wa_message_id, "emoji": emoji}
        self._ask(endpoints.REACT, account, body)

    @contextmanager
    def download_media(
        self, account: str, message_id: str, *, max_bytes: int = 64 * 1024 * 1024
    ) -> Iterator[MediaDownload]:
        """Open a media file; read its `chunks` inside the `with`. More than `max_bytes` raises RefusedError."""
        asked = self._exchange.stream(
            endpoints.MEDIA,
            self._auth(account),
            deadline_s=MEDIA_TIMEOUT_S,
            params={"message_id": message_id},
        )
        with asked as response:
            told = response.headers.get("content-length", "")
            length = int(told) if told.isdecimal() and len(told) < 16 else None
            yield MediaDownload(
                content_type=response.headers.get("content-type", "application/octet-stream"),
                filename=_filename(response.headers.get("content-disposition", "")),
                length=length,
                chunks=_bounded(response.iter_bytes(), max_bytes, length or 0),
            )

    def _ask(
        self, endpoint: Endpoint, account: str, body: dict[str, Any] | None = None, **params: str
    ) -> PlatformResponse:
        return self._exchange.ask(
            endpoint, self._auth(account), body, params={"account": account, **params}
        )


def _qr(answer: PlatformResponse) -> QrCode | None:
    return QrCode.read(answer.first("qr", "qrCode", "qrcode"))


def _filename(disposition: str) -> str | None:
    headers = Headers()
    headers["Content-Disposition"] = disposition
    name = headers.get_filename()
    return PurePath(name.replace("\\", "/")).name or None if name else None


def _bounded(chunks: Iterator[bytes], max_bytes: int, announced: int) -> Iterator[bytes]:
    total = 0
    msg = f"media: it is larger than {max_bytes} bytes"
    if announced > max_bytes:
        raise RefusedError(msg)
    for chunk in chunks:
        total += len(chunk)
        if total > max_bytes:
            raise RefusedError(msg)
        yield chunk

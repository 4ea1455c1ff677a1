"""The platform's calls for an account, each with the account's token."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.message import Message as Headers
from pathlib import PurePath
from typing import Any

import httpx

from shared.errors import PlatformError, RefusedError, RouteMissingError
from shared.events import SendEvent
from shared.platform import endpoints, payloads
from shared.platform.circuit_breaker import CircuitBreaker
from shared.platform.endpoints import Endpoint
from shared.platform.failures import build_unreadable_error
from shared.platform.http import PlatformHttp
from shared.platform.models import AccountStatus, MediaDownload, QrCode, SendResult, StartResult
from shared.platform.responses import PlatformResponse

MEDIA_TIMEOUT_S = 60.0
PROBE_TIMEOUT_S = 5.0
"""Limit of the status call that tests a circuit breaker; the message after it has the rest."""
CONNECTED = {"connected", "ready"}
STARTING = {"starting", "pending"}
OFFLINE = {"offline", "disconnected", "logout"}


class PlatformAccount:
    """Calls for an account; `auth` adds its token.

    Every call may raise the errors that `shared.platform.failures` lists, and InvalidApiKeyError
    when the platform refused the account's API key.
    """

    def __init__(
        self,
        http: PlatformHttp,
        account: str,
        auth: httpx.Auth,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self._http = http
        self._account = account
        self._auth = auth
        self._breaker = breaker

    def start(self) -> StartResult:
        """Start the account; the result may already be "connected", or the code to scan."""
        response = self._request(endpoints.START, {"number": self._account})
        if qr := _read_qr(response):
            return StartResult("qr", qr)
        is_connected = response.keyword("status", "state") in CONNECTED
        return StartResult("connected" if is_connected else "starting", None)

    def get_status(self, *, deadline_s: float | None = None) -> AccountStatus:
        params = {"account": self._account}
        response = self._http.request(
            endpoints.STATUS, self._auth, params=params, deadline_s=deadline_s
        )
        status = response.keyword("status", "state")
        if not status:
            raise build_unreadable_error(endpoints.STATUS, response.status, "no status")
        if status in CONNECTED:
            return "connected"
        if status in STARTING:
            return "starting"
        return "offline" if status in OFFLINE else "qr_required"

    def list_events(self, since: datetime) -> list[dict[str, Any]] | None:
        """Return what the platform has of the messages since a time, as its webhooks say it.

        None: it cannot tell.
        """
        try:
            response = self._request(endpoints.HISTORY, since=str(int(since.timestamp())))
        except RefusedError:
            return None
        events = (response.fields or {}).get("events")
        if not isinstance(events, list):
            return None
        return [event for event in events if isinstance(event, dict)]

    def get_qr(self) -> QrCode | None:
        """Return the code to scan, or None while the platform has none."""
        return _read_qr(self._request(endpoints.QR))

    def register_webhook(self, url: str) -> None:
        self._request(endpoints.WEBHOOK, {"url": url})

    def stop(self) -> None:
        self._request(endpoints.STOP)

    def send(self, event: SendEvent) -> SendResult:
        """Send a message; of a file, without the caption that `send_text` sends after it.

        A location goes as a text with a link to a map where the platform has no route for it.

        Raises:
            UnknownEffectError: the platform may have accepted the message. The remaining
                errors prove that it has not.
        """
        self._probe_breakers()
        try:
            return self._post(*payloads.build_message(self._account, event))
        except RouteMissingError:
            if event.location is None:
                raise
        found = self._post(*payloads.build_text(event, payloads.compose_map_link(event)))
        return SendResult(found.task_id, "map_link")

    def send_text(self, event: SendEvent, text: str) -> SendResult:
        """Send a text to the recipient of a message; raises as `send`."""
        self._probe_breakers()
        return self._post(*payloads.build_text(event, text))

    def _post(self, endpoint: Endpoint, body: dict[str, Any]) -> SendResult:
        response = self._request(endpoint, body)
        if response.fields is None:
            raise build_unreadable_error(endpoint, response.status, "not a JSON object")
        if response.has_error_field and not response.task_id:
            reason = "an error without a message id in a success"
            raise build_unreadable_error(endpoint, response.status, reason)
        return SendResult(response.task_id)

    def delete(self, task_id: str) -> bool:
        """Delete a message for both sides. False: the platform does not know the message."""
        try:
            self._request(endpoints.DELETE, task_id=task_id)
        except RefusedError as error:
            if error.status in {400, 404} or "not found" in str(error).lower():
                return False
            raise
        return True

    def react(self, to: str, wa_message_id: str, emoji: str) -> None:
        """React to a message by its WhatsApp id; `to` is international digits."""
        body = {"to": f"+{to.lstrip('+')}", "waMessageId": wa_message_id, "emoji": emoji}
        self._request(endpoints.REACT, body)

    @contextmanager
    def download_media(
        self, message_id: str, *, max_bytes: int = 64 * 1024 * 1024
    ) -> Iterator[MediaDownload]:
        """Open a media file; its `chunks` are read inside the `with`.

        Raises:
            RefusedError: the file is larger than `max_bytes`; also while `chunks` are read.
        """
        params = {"message_id": message_id}
        stream = self._http.stream(
            endpoints.MEDIA, self._auth, deadline_s=MEDIA_TIMEOUT_S, params=params
        )
        with stream as response:
            announced = response.headers.get("content-length", "")
            length = int(announced) if announced.isdecimal() and len(announced) < 16 else None
            yield MediaDownload(
                content_type=response.headers.get("content-type", "application/octet-stream"),
                filename=_read_filename(response.headers.get("content-disposition", "")),
                length=length,
                chunks=_limit_size(response.iter_bytes(), max_bytes, length or 0),
            )

    def _probe_breakers(self) -> None:
        """Test an open breaker of the platform, then that of the account, with a status call.

        Its result counts through the transport. While a breaker stays open, the message that
        follows is refused there, before it is sent.
        """
        for _ in range(2):
            if self._breaker is None or not self._breaker.needs_probe(self._account):
                return
            with suppress(PlatformError):
                self.get_status(deadline_s=PROBE_TIMEOUT_S)

    def _request(
        self, endpoint: Endpoint, body: dict[str, Any] | None = None, **params: str
    ) -> PlatformResponse:
        params = {"account": self._account, **params}
        return self._http.request(endpoint, self._auth, body, params=params)


def _read_qr(response: PlatformResponse) -> QrCode | None:
    return QrCode.read(response.first("qr", "qrCode", "qrcode"))


def _read_filename(disposition: str) -> str | None:
    headers = Headers()
    headers["Content-Disposition"] = disposition
    name = headers.get_filename()
    return PurePath(name.replace("\\", "/")).name or None if name else None


def _limit_size(chunks: Iterator[bytes], max_bytes: int, announced: int) -> Iterator[bytes]:
    total = 0
    msg = f"media: the file is larger than {max_bytes} bytes"
    if announced > max_bytes:
        raise RefusedError(msg)
    for chunk in chunks:
        total += len(chunk)
        if total > max_bytes:
            raise RefusedError(msg)
        yield chunk

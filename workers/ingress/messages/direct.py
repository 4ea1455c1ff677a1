"""POST /v1/messages past FastAPI, for throughput: plain requests, as nearly all are.

FastAPI finds the route, resolves the function's dependencies and writes the answer: two thirds of
the CPU of an accepted message. Plain requests get their answer here, from the functions that the
route in `endpoints` calls as well. Requests with a query, `Prefer` or `Origin`, and requests whose
body is no message, go on to the route.
"""

import re
from http import HTTPStatus
from typing import NamedTuple
from uuid import UUID

from pydantic import ValidationError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.events import Message
from workers.ingress.access import ADMITTED, Admitted, admit, receive_again
from workers.ingress.audit import Effect
from workers.ingress.body import BodyReader, DisconnectedError
from workers.ingress.deps import AppState
from workers.ingress.errors import to_response
from workers.ingress.messages.service import accept_message, describe_sending

PATH = "/v1/messages"
OPERATION = "send_message"
ACTION = "messages:write"
JSON = re.compile(rb"application/json(?:;\s?charset=utf-8)?", re.IGNORECASE)
SPECIAL = frozenset({b"origin", b"prefer", b"transfer-encoding"})
"""Headers of requests that are not plain."""
MAX_KEY_CHARS = 255
COMMON_HEADERS = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"vary", b"Origin"),
)


class Head(NamedTuple):
    """What the head of a plain request says."""

    idempotency_key: str | None


class SendAnswer(NamedTuple):
    body: bytes
    location: str
    replayed: bool

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"content-length", b"%d" % len(self.body)),
            (b"location", self.location.encode()),
        ]
        if self.replayed:
            headers.append((b"idempotent-replayed", b"true"))
        return headers


def read_head(scope: Scope) -> Head | None:
    """Return the head of a plain request; None for any other."""
    if scope["path"] != PATH or scope["method"] != "POST" or scope["query_string"]:
        return None
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in SPECIAL or name in found:
            return None
        found[name] = value
    if found.get(b"content-length", b"0") == b"0":
        return None
    if not JSON.fullmatch(found.get(b"content-type", b"")):
        return None
    key = found.get(b"idempotency-key")
    if key is not None and not 1 <= len(key) <= MAX_KEY_CHARS:
        return None
    return Head(None if key is None else key.decode("latin-1"))


async def handle_send(
    head: Head, scope: Scope, receive: Receive, send: Send, app: ASGIApp, state: AppState
) -> None:
    """Answer a plain request, or pass it on to `app` once its body turns out to be no message."""
    limits = MutableHeaders()
    try:
        caller = await admit(scope, state, limits)
        caller.require(ACTION)
        reader = BodyReader(scope, receive, state.limits, state.limits.wpp_api_body_limit)
        body = await reader.read_all()
        message = _read_message(body)
        answer = await _accept(message, caller.organization_id, head, state) if message else None
    except DisconnectedError:
        return
    except Exception as error:  # noqa: BLE001 - every error becomes a problem response
        response = to_response(error)
        response.headers.update({**limits, "Cache-Control": "no-store", "Vary": "Origin"})
        await response(scope, receive, send)
        return
    if answer is None:
        admitted = Admitted(caller, limits)
        await app({**scope, ADMITTED: admitted}, receive_again(body, receive), send)
        return
    headers = [*answer.headers, *limits.raw, *COMMON_HEADERS]
    status = HTTPStatus.ACCEPTED.value
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
    effect = Effect(caller.subject, caller.organization_id, OPERATION)
    effect.log(scope, status, answer.location, replayed=answer.replayed)


def _read_message(body: bytes) -> Message | None:
    try:
        return Message.model_validate_json(body)
    except ValidationError:  # the route says what is wrong, and reads some JSON that this does not
        return None


async def _accept(
    message: Message, organization_id: UUID, head: Head, state: AppState
) -> SendAnswer:
    state = await state.of_organization(organization_id)
    sending = await accept_message(message, organization_id, head.idempotency_key, state)
    described = await describe_sending(sending, organization_id, state)
    body = described.model_dump_json().encode()
    return SendAnswer(body, sending.location, not sending.accepted.new)

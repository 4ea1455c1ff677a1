"""POST /webhooks/wpp/{account}/{key}: what the platform tells, kept before it is answered.

Long texts (the platform posts files as base64) are taken out of a body before it is parsed, and wait in Redis beside
their event. So an event of 20 MB costs the queue a few hundred bytes, and this process one copy of it.
"""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, NamedTuple

import redis
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from shared import access, blobs, inbound, intake
from shared.errors import OverloadedError
from shared.events import utc_now
from shared.lanes import Append
from workers.ingress.problems import problem
from workers.ingress.state import Doorway, doorway

BIG = 1 << 20
"""Bytes. Only some bodies longer than this are read at the same time, so that they don't fill the memory."""
MOST_REST = 1 << 20
"""Bytes that a body may have beside its long texts: parsing takes a hundred times as long as finding those."""

log = structlog.get_logger()


class Item(NamedTuple):
    append: Append
    blobs: dict[str, bytes]


class MalformedError(ValueError):
    """This is no event."""


class TooLargeError(Exception):
    """More than we take."""


class StalledError(Exception):
    """The body does not come."""


async def receive(request: Request) -> Response:
    """Accept one event, or a list of them, each with its own fate.

    A stranger gets 404, whichever part of the URL was wrong; 2xx is answered only after Redis has every event.
    """
    here = doorway(request)
    account, key = request.path_params["account"], request.path_params["key"]
    if not access.webhook_key_fits(account, key, here.keys.secrets):
        return _unknown()
    return await _accept(request, here, account)


async def receive_old(request: Request) -> Response:
    """Accept what the old URLs bring, if it comes with the shared secret: `?account=`, or the account in the event."""
    here = doorway(request)
    given = request.headers.get("x-webhook-secret") or request.query_params.get("secret") or ""
    secret = here.door.wpp_webhook_secret
    if secret is None or not hmac.compare_digest(given.encode(), secret.get_secret_value().encode()):
        return _unknown()
    return await _accept(request, here, request.query_params.get("account") or None)


ROUTES = [
    Route("/webhooks/wpp/{account}/{key}", receive, methods=["POST"]),
    Route("/webhooks/wpp", receive_old, methods=["POST"]),
    Route("/functions/v1/wpp-webhook", receive_old, methods=["POST"]),
]


async def _accept(request: Request, here: Doorway, account: str | None) -> Response:
    try:
        async with _body(request, here) as body:
            if len(body) > blobs.LONG:
                items = await asyncio.to_thread(_items, account, body)
            else:
                items = _items(account, body)
            body.clear()
            await _keep(here, items)
    except ClientDisconnect:
        return Response(status_code=HTTPStatus.BAD_REQUEST)
    except StalledError:
        return problem(HTTPStatus.REQUEST_TIMEOUT, "stalled", "the body did not come", Connection="close")
    except TooLargeError as error:
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", str(error), Connection="close")
    except MalformedError as error:
        log.warning("webhook.malformed", account=account, error=str(error))
        return problem(HTTPStatus.BAD_REQUEST, "malformed", f"this is no event in JSON: {error}"[:300])
    return Response(b'{"ok":true,"events":%d}' % len(items), media_type="application/json")


@asynccontextmanager
async def _body(request: Request, here: Doorway) -> AsyncIterator[bytearray]:
    """Read the body, but no more of it than we take, and no more than a few big ones at once."""
    limit, body, big = here.door.wpp_body_limit, bytearray(), False
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > limit:
        raise _too_large(limit)
    try:
        async for chunk in _chunks(request, here.door.wpp_body_stall_s):
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
            if len(body) > BIG and not big:
                big = await here.big_bodies.acquire()
        yield body
    finally:
        if big:
            here.big_bodies.release()


async def _chunks(request: Request, stall_s: float) -> AsyncIterator[bytes]:
    """Yield the body as it comes; raises StalledError when it doesn't."""
    more = True
    while more:
        try:
            async with asyncio.timeout(stall_s):
                message = await request.receive()
        except TimeoutError:
            raise StalledError from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _items(account: str | None, body: bytearray) -> list[Item]:
    """Return the events of a body."""
    try:
        rest, texts = blobs.lift(body) if len(body) > blobs.LONG else (body, {})
        if len(rest) > MOST_REST:
            raise _too_large(MOST_REST, " beside its files")
        return [_item(account, payload, texts) for payload in inbound.split(json.loads(rest))]
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error) or type(error).__name__) from None


def _item(account: str | None, payload: dict[str, Any], texts: dict[str, bytes]) -> Item:
    account = account or inbound.claimed_account(payload)
    if not account:
        msg = "it names no account"
        raise ValueError(msg)
    arrival = inbound.describe(payload, account, utc_now())
    digests = tuple(dict.fromkeys(blobs.mentioned(payload, texts))) if texts else ()
    append = intake.webhook(account, payload, arrival.identity, arrival.peer, digests)
    return Item(append, {digest: texts[digest] for digest in digests})


async def _keep(here: Doorway, items: list[Item]) -> None:
    """Keep every event, its long texts first.

    These travel alone: in one pipeline with the events of others they would hold these up.
    """
    for append, texts in items:
        for digest, text in texts.items():
            await _keep_blob(here, blobs.key(append.event.id, digest), text)
        texts.clear()
    await here.appends.append_all([append for append, _ in items])


async def _keep_blob(here: Doorway, name: str, text: bytes) -> None:
    try:
        if not await here.redis.expire(name, here.blob_ttl_s):  # a retry finds it there
            await here.redis.set(name, text, ex=here.blob_ttl_s)
    except redis.exceptions.OutOfMemoryError as error:
        msg = "there is no room for files in Redis; try again later"
        raise OverloadedError(msg) from error


def _too_large(limit: int, beside: str = "") -> TooLargeError:
    return TooLargeError(f"a body may have {limit} bytes{beside}")


def _unknown() -> Response:
    return problem(HTTPStatus.NOT_FOUND, "not_found", "no such webhook")

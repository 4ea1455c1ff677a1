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
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shared import access, blobs, inbound, intake
from shared.errors import OverloadedError
from shared.events import utc_now
from shared.lanes import Append
from workers.ingress.problems import problem, said
from workers.ingress.state import Doorway

PATH = "/webhooks/wpp"
OLD_PATHS = (PATH, "/functions/v1/wpp-webhook")
BIG = 1 << 20
"""Bytes. Only some bodies longer than this are read at the same time, so that they don't fill the memory."""
MOST_REST = 1 << 20
"""Bytes that a body may have beside its long texts: parsing takes a hundred times as long as finding those."""
PIECE = 1 << 18
UNFINISHED_S = 300

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


class GoneAwayError(Exception):
    """Nobody waits for an answer any more."""


def is_meant(scope: Scope) -> bool:
    """Return whether a request is for this door."""
    return scope["type"] == "http" and (scope["path"].startswith(f"{PATH}/") or scope["path"] in OLD_PATHS)


async def serve(scope: Scope, receive: Receive, send: Send, here: Doorway) -> None:
    """Accept one event, or a list of them, each with its own fate (ASGI: the platform's events go past the framework).

    A stranger gets 404, whichever part of the URL was wrong; 2xx is answered only after Redis has every event.
    """
    try:
        answer = await _answer(scope, receive, here)
    except GoneAwayError:
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the platform is told
        answer = await said(error)
    await answer(scope, receive, send)


async def _answer(scope: Scope, receive: Receive, here: Doorway) -> Response:
    known, account = _opened(scope, here)
    if not known:
        return problem(HTTPStatus.NOT_FOUND, "not_found", "no such webhook")
    if scope["method"] != "POST":
        return problem(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", "events are posted", Allow="POST")
    try:
        accepted = await _accept(account, scope, receive, here)
    except StalledError:
        return problem(HTTPStatus.REQUEST_TIMEOUT, "stalled", "the body did not come", Connection="close")
    except TooLargeError as error:
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", str(error), Connection="close")
    except MalformedError as error:
        log.warning("webhook.malformed", account=account, error=str(error))
        return problem(HTTPStatus.BAD_REQUEST, "malformed", f"this is no event in JSON: {error}"[:300])
    return Response(b'{"ok":true,"events":%d}' % accepted, media_type="application/json")


def _opened(scope: Scope, here: Doorway) -> tuple[bool, str | None]:
    """Return whether the URL is one of ours, and the account that it names.

    The old URLs (`?account=`, or the account in the event) need the shared secret, in a header or in the URL.
    """
    path: str = scope["path"]
    if path not in OLD_PATHS:
        account, _, key = path[len(PATH) + 1 :].partition("/")
        return access.webhook_key_fits(account, key, here.keys.secrets), account
    query, secret = QueryParams(scope["query_string"]), here.door.wpp_webhook_secret
    given = Headers(scope=scope).get("x-webhook-secret") or query.get("secret") or ""
    if secret is None or not hmac.compare_digest(given.encode(), secret.get_secret_value().encode()):
        return False, None
    return True, query.get("account") or None


async def _accept(account: str | None, scope: Scope, receive: Receive, here: Doorway) -> int:
    """Keep the events of a body; return how many there were."""
    if _told_length(scope) > here.door.wpp_body_limit:
        raise _too_large(here.door.wpp_body_limit)
    start, more = await _piece(receive, here.door.wpp_body_stall_s)
    if not more and len(start) <= blobs.LONG:
        items = _items(account, start)
        await _keep(here, items)
        return len(items)
    async with _whole(start, receive, here, more=more) as body:
        items = await asyncio.to_thread(_items, account, body)
        body.clear()
        await _keep(here, items)
        return len(items)


@asynccontextmanager
async def _whole(start: bytes, receive: Receive, here: Doorway, *, more: bool) -> AsyncIterator[bytearray]:
    """Read the rest of a body, but no more of it than we take, and no more than a few big ones at once."""
    limit, body, big = here.door.wpp_body_limit, bytearray(start), False
    try:
        while True:
            if len(body) > limit:
                raise _too_large(limit)
            if len(body) > BIG and not big:
                big = await here.big_bodies.acquire()
            if not more:
                break
            piece, more = await _piece(receive, here.door.wpp_body_stall_s)
            body += piece
        yield body
    finally:
        if big:
            here.big_bodies.release()


async def _piece(receive: Receive, stall_s: float) -> tuple[bytes, bool]:
    """Return what has come of the body, and whether there is more; raises StalledError when nothing comes."""
    try:
        async with asyncio.timeout(stall_s):
            message = await receive()
    except TimeoutError:
        raise StalledError from None
    if message["type"] == "http.disconnect":
        raise GoneAwayError
    return message.get("body", b""), message.get("more_body", False)


def _told_length(scope: Scope) -> int:
    told = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(told[:20]) if told.isdigit() else 0


def _items(account: str | None, body: bytes | bytearray) -> list[Item]:
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
    append = intake.webhook(account, payload, arrival.identity, arrival.conversation, digests)
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
    """Keep a long text, in pieces: Redis, which syncs each write to its disk, serves others in between.

    What is there already (the platform tried before) stays; what is left unfinished is gone after some minutes.
    """
    try:
        if await here.redis.strlen(name) != len(text):
            await here.redis.set(name, text[:PIECE], ex=UNFINISHED_S)
            for start in range(PIECE, len(text), PIECE):
                await here.redis.setrange(name, start, text[start : start + PIECE])
        await here.redis.expire(name, here.blob_ttl_s)
    except redis.exceptions.OutOfMemoryError as error:
        msg = "there is no room for files in Redis; try again later"
        raise OverloadedError(msg) from error


def _too_large(limit: int, beside: str = "") -> TooLargeError:
    return TooLargeError(f"a body may have {limit} bytes{beside}")

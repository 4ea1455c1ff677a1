"""POST /webhooks/wpp/{account}/{key}: what the platform tells, kept before it is answered.

Long texts (the platform posts files as base64) are taken out of a body before it is parsed, and wait in Redis beside
their event. So an event of 20 MB costs the queue a few hundred bytes, and this process one copy of it.
"""

import asyncio
import hashlib
import hmac
import json
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import redis
import structlog
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shared import payload_store, routing, signed_keys, webhooks
from shared.events import utc_now
from shared.redis import keys
from workers.ingress.deps import Doorway
from workers.ingress.errors import problem, said
from workers.ingress.webhooks.body import GoneAwayError, Incoming, StalledError, TooLargeError
from workers.ingress.webhooks.storage import Item, keep

PATH = "/webhooks/wpp"
OLD_PATHS = (PATH, "/functions/v1/wpp-webhook")
LARGE = 65_536
"""Bytes. An event that has more without its long texts waits beside the queue whole."""

log = structlog.get_logger()


class MalformedError(ValueError):
    """This is no event."""


def is_meant(scope: Scope) -> bool:
    """Return whether a request is for this door."""
    return scope["type"] == "http" and (
        scope["path"].startswith(f"{PATH}/") or scope["path"] in OLD_PATHS
    )


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
        return problem(
            HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", "events are posted", Allow="POST"
        )
    try:
        accepted = await _accept(account, scope, receive, here)
    except StalledError:
        return problem(
            HTTPStatus.REQUEST_TIMEOUT, "stalled", "the body did not come", Connection="close"
        )
    except TooLargeError as error:
        return problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", str(error), Connection="close"
        )
    except MalformedError as error:
        log.warning("webhook.malformed", account=account, error=str(error))
        with suppress(redis.RedisError):
            await here.redis.hincrby(keys.UNRECOGNIZED_EVENTS, routing.MALFORMED, 1)
        return problem(
            HTTPStatus.BAD_REQUEST, "malformed", f"this is no event in JSON: {error}"[:300]
        )
    return Response(b'{"ok":true,"events":%d}' % accepted, media_type="application/json")


def _opened(scope: Scope, here: Doorway) -> tuple[bool, str | None]:
    """Return whether the URL is one of ours, and the account that it names.

    The old URLs (`?account=`, or the account in the event) need the shared secret, in a header or in the URL.
    """
    path: str = scope["path"]
    if path not in OLD_PATHS:
        account, _, key = path[len(PATH) + 1 :].partition("/")
        return signed_keys.verify_webhook_key(account, key, here.keys.secrets), account
    query, secret = QueryParams(scope["query_string"]), here.door.wpp_webhook_secret
    given = Headers(scope=scope).get("x-webhook-secret") or query.get("secret") or ""
    if secret is None or not hmac.compare_digest(
        given.encode(), secret.get_secret_value().encode()
    ):
        return False, None
    return True, query.get("account") or None


async def _accept(account: str | None, scope: Scope, receive: Receive, here: Doorway) -> int:
    """Keep the events of a body; return how many there were."""
    incoming, rest_limit = Incoming(scope, receive, here.door), here.door.wpp_body_rest_limit
    start, more = await incoming.piece()
    if not more and len(start) <= payload_store.LONG_TEXT_BYTES:
        items = _items(account, start, rest_limit)
        await keep(here, items)
        return len(items)
    async with incoming.whole(start, here.big_bodies, more=more) as body:
        items = await asyncio.to_thread(_items, account, body, rest_limit)
        body.clear()
        count = len(items)
        await keep(here, items)
        return count


def _items(account: str | None, body: bytes | bytearray, rest_limit: int) -> list[Item]:
    """Return the events of a body."""
    try:
        rest, texts = (
            payload_store.extract_long_texts(body)
            if len(body) > payload_store.LONG_TEXT_BYTES
            else (body, {})
        )
        if len(rest) > rest_limit:
            raise TooLargeError(rest_limit, " beside its files")
        large = len(rest) > LARGE
        return [
            _item(account, payload, texts, large=large)
            for payload in webhooks.split_body(json.loads(rest))
        ]
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error) or type(error).__name__) from None


def _item(
    account: str | None, payload: dict[str, Any], texts: dict[str, bytes], *, large: bool
) -> Item:
    """Return an event. `large`: perhaps too large for a queue, so that the whole of it has to wait beside it."""
    account = account or webhooks.find_claimed_account(payload)
    if not account:
        msg = "it names no account"
        raise ValueError(msg)
    arrival = webhooks.classify_event(payload, account, utc_now())
    beside = (
        {digest: texts[digest] for digest in payload_store.referenced_digests(payload, texts)}
        if texts
        else {}
    )
    whole = json.dumps(payload, separators=(",", ":")).encode() if large else b""
    digest = hashlib.sha256(whole).hexdigest() if len(whole) > LARGE else None
    append = routing.route_webhook(
        account, payload, arrival.identity, arrival.conversation, tuple(beside), digest
    )
    earlier = routing.make_event_id(account, arrival.earlier) if arrival.earlier else None
    return Item(append, beside | ({digest: whole} if digest else {}), earlier)

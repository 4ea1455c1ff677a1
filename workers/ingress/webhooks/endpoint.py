"""POST /webhooks/wpp/{account}/{key}: events of the platform, stored before the response.

Long texts (the platform sends files as base64) are cut out of a body before it is parsed, and are
stored beside their event. So an event of 20 MB takes a few hundred bytes of the queue, and a single
copy in the memory of this process.
"""

import asyncio
import hashlib
import hmac
import json
import time
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from uuid import UUID

import redis
import structlog
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shared import payload_store, routing, signed_keys, webhooks
from shared.errors import MovedError
from shared.events import utc_now
from shared.redis import keys
from workers.ingress.body import (
    BodyReader,
    BodyTooLargeError,
    DisconnectedError,
)
from workers.ingress.deps import AppState
from workers.ingress.errors import problem, to_response
from workers.ingress.request_limits import find_client
from workers.ingress.shard_states import HOLD_S, LOOK_EVERY_S
from workers.ingress.webhooks.storage import IncomingEvent, store_events

PATH = "/webhooks/wpp"
LEGACY_PATHS = (PATH, "/functions/v1/wpp-webhook")
"""Paths without a key, for platforms configured earlier: they need `WPP_WEBHOOK_SECRET`."""
LARGE_EVENT = 65_536
"""Bytes. An event that is longer without its long texts is stored beside the queue as a whole."""
MAX_LOGGED = 20
"""Log lines about the malformed items of a list; all of them are counted."""

log = structlog.get_logger()


class MalformedError(ValueError):
    """The body is not an event, nor a list of events."""


def matches_path(scope: Scope) -> bool:
    """Return whether a request is a webhook."""
    return scope["type"] == "http" and (
        scope["path"].startswith(f"{PATH}/") or scope["path"] in LEGACY_PATHS
    )


async def handle_webhook(scope: Scope, receive: Receive, send: Send, state: AppState) -> None:
    """Store an event or a list of events (ASGI, outside FastAPI for throughput).

    The response is 2xx only after Redis has stored every event. A URL with a wrong account or key
    is answered with 404, so that it does not reveal which part is wrong. With GET,
    `wpp doctor` reads back what it stored in Redis: so the public address leads here.
    """
    try:
        response = await _respond(scope, receive, state)
    except DisconnectedError:
        return
    except Exception as error:  # noqa: BLE001 - every error becomes a problem response
        response = to_response(error)
    await response(scope, receive, send)


async def _respond(scope: Scope, receive: Receive, state: AppState) -> Response:
    authentic, account = _authenticate(scope, state)
    if not authentic:
        state.request_limits.take("failure", find_client(scope))
        return problem(HTTPStatus.NOT_FOUND, "not_found", "There is no webhook at this URL.")
    state.request_limits.take("webhook", (account or "")[:64])
    if scope["method"] != "POST":
        if account and (found := await state.redis.get(keys.reach_check(account))):
            return Response(found, media_type="text/plain")
        return problem(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "Send events with POST.",
            Allow="POST",
        )
    try:
        count = await _accept(account, scope, receive, state)
    except MalformedError as error:
        log.warning("webhook.malformed", account=account, error=str(error))
        with suppress(redis.RedisError):
            await state.redis.hincrby(keys.UNRECOGNIZED_EVENTS, routing.MALFORMED, 1)
        detail = f"The body is not a JSON event or a list of them: {error}"[:300]
        return problem(HTTPStatus.BAD_REQUEST, "malformed", detail)
    return _confirm(count)


@lru_cache(maxsize=64)
def _confirm(count: int) -> Response:
    """Return the answer to that many events: it holds nothing of a request."""
    return Response(b'{"ok":true,"events":%d}' % count, media_type="application/json")


def _authenticate(scope: Scope, state: AppState) -> tuple[bool, str | None]:
    """Return whether the key or secret of a URL is right, and the account that the URL names.

    A legacy URL has the shared secret in a header or its query; its account is in the query or in
    the event.
    """
    path: str = scope["path"]
    if path not in LEGACY_PATHS:
        account, _, key = path[len(PATH) + 1 :].partition("/")
        return signed_keys.verify_webhook_key(account, key, state.keys.secrets), account
    query = QueryParams(scope["query_string"])
    secret = state.limits.wpp_webhook_secret
    given = Headers(scope=scope).get("x-webhook-secret") or query.get("secret") or ""
    if secret is None or not hmac.compare_digest(
        given.encode(), secret.get_secret_value().encode()
    ):
        return False, None
    return True, query.get("account") or None


async def _accept(account: str | None, scope: Scope, receive: Receive, state: AppState) -> int:
    """Store the events of a body; return how many there were."""
    reader = BodyReader(scope, receive, state.limits, state.limits.wpp_body_limit)
    rest_limit = state.limits.wpp_body_rest_limit
    start, more = await reader.read_chunk()
    if not more and len(start) <= payload_store.LONG_TEXT_BYTES:
        events, refused = _parse_body(account, start, rest_limit)
        await _store(account, events, refused, state)
        return len(events)
    async with reader.read_rest(start, state.large_bodies, more=more) as body:
        events, refused = await asyncio.to_thread(_parse_body, account, body, rest_limit)
        body.clear()
        count = len(events)
        await _store(account, events, refused, state)
        return count


async def _store(
    account: str | None, events: list[IncomingEvent], refused: list[str], state: AppState
) -> None:
    """Store events; log and count the items of their list that are none."""
    until_s = time.monotonic() + HOLD_S
    while True:
        try:
            for shard, part in await _group_by_shard(events, state):
                await store_events(part, shard)
            break
        except MovedError:  # since its shard was found; what is stored is recognized
            if time.monotonic() > until_s:
                raise
            await asyncio.sleep(LOOK_EVERY_S)
    for error in refused[:MAX_LOGGED]:
        log.warning("webhook.malformed_item", account=account, error=error)
    if refused:
        with suppress(redis.RedisError):
            await state.redis.hincrby(keys.UNRECOGNIZED_EVENTS, routing.MALFORMED, len(refused))


async def _group_by_shard(
    events: list[IncomingEvent], state: AppState
) -> list[tuple[AppState, list[IncomingEvent]]]:
    """Return events with the state of the shard of their account, in order for each account."""
    if state.shards is None:
        return [(state, events)]
    accounts: dict[str, list[IncomingEvent]] = {}
    for event in events:
        accounts.setdefault(event.append.tenant, []).append(event)
    return [(await state.shards.of_account(each), part) for each, part in accounts.items()]


def _parse_body(
    account: str | None, body: bytes | bytearray, rest_limit: int
) -> tuple[list[IncomingEvent], list[str]]:
    """Return the events of a body, and why each further item of its list is no event.

    Raises:
        BodyTooLargeError: the body exceeds `rest_limit` without its long texts.
        TooManyEventsError: the body holds more events than are accepted at once.
        MalformedError: the body is not an event, nor a list with an event in it.
    """
    rest: bytes | bytearray = body
    texts: dict[str, bytes] = {}
    try:
        if len(body) > payload_store.LONG_TEXT_BYTES:
            rest, texts = payload_store.extract_long_texts(body)
        if len(rest) > rest_limit:
            raise BodyTooLargeError(rest_limit, " besides its files")
        payloads, refused = webhooks.split_body(webhooks.parse_json(rest))
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error) or type(error).__name__) from None
    events = []
    for payload in payloads:
        try:
            events.append(_build_event(account, payload, texts, large=len(rest) > LARGE_EVENT))
        except ValueError as error:
            refused.append(str(error))
    if refused and not events:
        raise MalformedError(refused[0])
    return events, refused


def _build_event(
    account: str | None, payload: dict[str, Any], texts: dict[str, bytes], *, large: bool
) -> IncomingEvent:
    """Return an event. `large`: its size has to be checked, and it may be stored as a whole."""
    parsed = webhooks.parse_payload(payload)
    account = account or webhooks.find_claimed_account(parsed)
    if not account:
        msg = "it names no account"
        raise ValueError(msg)
    event = webhooks.classify_event(parsed, account, utc_now())
    identity = webhooks.identify_event(event)
    if not texts and not large:
        append = routing.route_webhook(account, payload, identity.value, event.conversation)
        return IncomingEvent(append, {}, _make_earlier(account, identity))
    stored = {each: texts[each] for each in payload_store.referenced_digests(payload, texts)}
    whole = json.dumps(payload, separators=(",", ":")).encode() if large else b""
    digest = hashlib.sha256(whole).hexdigest() if len(whole) > LARGE_EVENT else None
    append = routing.route_webhook(
        account, payload, identity.value, event.conversation, tuple(stored), digest
    )
    stored |= {digest: whole} if digest else {}
    append = replace(append, bytes_beside=sum(map(len, stored.values())))
    return IncomingEvent(append, stored, _make_earlier(account, identity))


def _make_earlier(account: str, identity: webhooks.EventIdentity) -> UUID | None:
    return routing.make_webhook_id(account, identity.previous) if identity.previous else None

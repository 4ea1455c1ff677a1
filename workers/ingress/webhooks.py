"""POST /webhooks/wpp/{account}/{key}: what the platform tells, kept before it is answered."""

import json
from http import HTTPStatus
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from shared import access, inbound, intake
from shared.events import utc_now
from shared.lanes import Append
from workers.ingress.problems import problem
from workers.ingress.state import doorway

MAX_BODY = 25 * 1024 * 1024
"""Bytes: the platform posts media as base64 within the event."""

log = structlog.get_logger()


async def receive(request: Request) -> Response:
    """Accept one event, or a list of them, each with its own fate.

    A stranger gets 404, whichever part of the URL was wrong; 2xx is answered only after Redis has every event.
    """
    here = doorway(request)
    account, key = request.path_params["account"], request.path_params["key"]
    if not access.webhook_key_fits(account, key, here.keys.secrets):
        return problem(HTTPStatus.NOT_FOUND, "not_found", "no such webhook")
    try:
        body = await _body(request)
        items = [_item(account, payload) for payload in inbound.split(json.loads(body))]
    except ClientDisconnect:
        return Response(status_code=HTTPStatus.BAD_REQUEST)
    except OverflowError:
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"a body may have {MAX_BODY} bytes")
    except (ValueError, RecursionError) as error:
        log.warning("webhook.malformed", account=account, error=type(error).__name__)
        return problem(HTTPStatus.BAD_REQUEST, "malformed", f"this is no event in JSON: {error}"[:300])
    await here.appends.append_all(items)
    return JSONResponse({"ok": True, "events": len(items)})


async def _body(request: Request) -> bytes:
    """Read the body, but no more of it than we take; raises OverflowError past that."""
    if int(request.headers.get("content-length") or 0) > MAX_BODY:
        raise OverflowError
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise OverflowError
        chunks.append(chunk)
    return b"".join(chunks)


def _item(account: str, payload: dict[str, Any]) -> Append:
    arrival = inbound.describe(payload, account, utc_now())
    return intake.webhook(account, payload, arrival.identity, arrival.peer)

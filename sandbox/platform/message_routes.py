"""Messages: send, delete, react, and the media of incoming messages."""

import asyncio
import base64
import math
import re
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.platform import request_data
from sandbox.platform.accounts import Account
from sandbox.platform.errors import ApiError
from sandbox.platform.messages import Message
from sandbox.platform.state import PlatformState

Content = dict[str, Any]
"""`text`, and `media` where it exists."""


def _make_refusal(message: str) -> Response:
    """Answer 200 with an error inside: the request is valid and cannot be carried out."""
    return JSONResponse({"status": "error", "message": message})


def _refuse_unconnected(account: Account) -> Response:
    return _make_refusal(f"Account {account.session} is not connected")


async def _inject_fault(state: PlatformState, session: str) -> Response | None:
    """Return the answer of an account that fails or is over its limit, or None.

    A slow account's message waits here.
    """
    plan = state.faults.plan
    await asyncio.sleep(plan.slow_accounts.get(session, 0))
    if session in plan.failing_accounts:
        await asyncio.sleep(plan.failing_after_s)
        state.ledger.count("faults", session, "5xx")
        return JSONResponse({"error": "Internal server error"}, plan.status_5xx)
    if state.faults.take_message(session, time.monotonic()):
        return None
    state.ledger.count("faults", session, "429")
    headers = {"Retry-After": str(math.ceil(plan.retry_after_s))} if plan.retry_after_s else {}
    return JSONResponse({"error": "Too many requests"}, 429, headers)


def _read_recipient(body: dict[str, Any]) -> str:
    digits = request_data.require_text(body, "to").removeprefix("+")
    if not re.fullmatch(r"[1-9]\d{6,14}", digits):
        raise ApiError(400, "to must be a phone number with its country code")
    return digits


def _make_send_route(kind: str, content: Callable[[dict[str, Any]], Content]) -> Route:
    """Return the route for a kind of message: `{to, …}` → `{taskId, status: "queued"}`."""

    async def send(request: Request) -> Response:
        state = request_data.get_state(request)
        if kind in state.faults.plan.missing_routes:
            return PlainTextResponse(f"Cannot POST /api/messages/{kind}", 404)
        body = await request_data.read_json(request)
        account = request_data.authenticate(request, body.get("account"))
        message = Message(account.session, _read_recipient(body), "api", kind, **content(body))
        if account.status != "connected":
            return _refuse_unconnected(account)
        if fault := await _inject_fault(state, account.session):
            return fault
        if message.peer in state.faults.plan.refused_recipients:
            return _make_refusal("The phone number is not on WhatsApp")
        state.messages.send(account, message)
        return JSONResponse({"success": True, "taskId": message.task_id, "status": "queued"})

    return Route(f"/api/messages/{kind}", send, methods=["POST"])


def _read_text(body: dict[str, Any]) -> Content:
    return {"text": request_data.require_text(body, "text")}


def _read_image(body: dict[str, Any]) -> Content:
    return {
        "text": str(body.get("caption") or ""),
        "media": {"url": request_data.require_text(body, "url")},
    }


def _read_file(body: dict[str, Any]) -> Content:
    return {
        "media": {
            "url": request_data.require_text(body, "url"),
            "filename": request_data.require_text(body, "filename"),
        }
    }


def _read_location(body: dict[str, Any]) -> Content:
    place = {name: body[name] for name in ("lat", "lng", "name", "address") if name in body}
    if not all(isinstance(place.get(name), int | float) for name in ("lat", "lng")):
        raise ApiError(400, "lat and lng are required")
    return {"text": str(place.get("name") or ""), "media": place}


async def delete_message(request: Request) -> Response:
    """Delete a message by its taskId; 404 if unknown, of another account, or already deleted."""
    account = request_data.authenticate(request)
    messages = request_data.get_state(request).messages
    message = messages.find_sent(account.session, request.path_params["taskId"])
    if message is None:
        raise ApiError(404, "Message not found")
    messages.delete(message)
    return JSONResponse({"success": True})


async def react_to_message(request: Request) -> Response:
    """`{to, waMessageId, emoji}`; a taskId is not accepted."""
    body = await request_data.read_json(request)
    account = request_data.authenticate(request, body.get("account"))
    state = request_data.get_state(request)
    messages = state.messages
    message = messages.find_by_wa_id(
        account.session, request_data.require_text(body, "waMessageId")
    )
    if account.status != "connected":
        return _refuse_unconnected(account)
    if message is None or message.peer != _read_recipient(body):
        return _make_refusal("Message not found")
    withdrawn = body.get("emoji") == "" and state.faults.plan.takes_empty_reactions
    message.reaction = None if withdrawn else request_data.require_text(body, "emoji")
    messages.save(message)
    return JSONResponse({"success": True, "status": "sent"})


async def get_media(request: Request) -> Response:
    account = request_data.authenticate(request)
    message = request_data.get_state(request).messages.find_by_wa_id(
        account.session, request.path_params["messageId"]
    )
    held = message.media if message else None
    if not held or "base64" not in held:
        raise ApiError(404, "Media not found")
    headers = {"Content-Disposition": 'attachment; filename="file"'}
    return Response(base64.b64decode(held["base64"]), media_type=held["mimetype"], headers=headers)


ROUTES = [
    _make_send_route("text", _read_text),
    _make_send_route("image", _read_image),
    _make_send_route("file", _read_file),
    _make_send_route("location", _read_location),
    Route("/api/messages/react", react_to_message, methods=["POST"]),
    Route("/api/messages/media/{messageId:path}", get_media),
    Route("/api/messages/{taskId}", delete_message, methods=["DELETE"]),
]

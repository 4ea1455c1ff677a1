"""Messages: sending, taking back, reacting, and the media of what came in."""

import base64
import re
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.platform import caller
from sandbox.platform.accounts import Account
from sandbox.platform.errors import ApiError
from sandbox.platform.messages import Message

Content = dict[str, Any]
"""`text`, and `media` when there is one."""


def _refused(message: str) -> Response:
    """Answer a request that was understood and can't be done: 2xx, with the reason inside."""
    return JSONResponse({"status": "error", "message": message})


def _not_connected(account: Account) -> Response:
    return _refused(f"Account {account.session} is not connected")


def _recipient(body: dict[str, Any]) -> str:
    digits = caller.text(body, "to").removeprefix("+")
    if not re.fullmatch(r"[1-9]\d{6,14}", digits):
        raise ApiError(400, "to must be a phone number with its country code")
    return digits


def _sender(kind: str, content: Callable[[dict[str, Any]], Content]) -> Route:
    """Return the route that accepts messages of one kind: `{to, …}` → `{taskId, status: "queued"}`."""

    async def send(request: Request) -> Response:
        world = caller.world_of(request)
        body = await caller.read_json(request)
        account = caller.account(request, body.get("account"))
        message = Message(account.session, _recipient(body), "api", kind, **content(body))
        if account.status != "connected":
            return _not_connected(account)
        if message.peer in world.faults.plan.refused_recipients:
            return _refused("The phone number is not on WhatsApp")
        world.messages.send(account, message)
        return JSONResponse({"success": True, "taskId": message.task_id, "status": "queued"})

    return Route(f"/api/messages/{kind}", send, methods=["POST"])


def _text(body: dict[str, Any]) -> Content:
    return {"text": caller.text(body, "text")}


def _image(body: dict[str, Any]) -> Content:
    return {"text": str(body.get("caption") or ""), "media": {"url": caller.text(body, "url")}}


def _file(body: dict[str, Any]) -> Content:
    return {"media": {"url": caller.text(body, "url"), "filename": caller.text(body, "filename")}}


def _location(body: dict[str, Any]) -> Content:
    place = {name: body[name] for name in ("lat", "lng", "name", "address") if name in body}
    if not all(isinstance(place.get(name), int | float) for name in ("lat", "lng")):
        raise ApiError(400, "lat and lng are required")
    return {"text": str(place.get("name") or ""), "media": place}


async def delete(request: Request) -> Response:
    """Take a message back by its taskId; 404 when it is unknown, another account's, or gone already."""
    account = caller.account(request)
    messages = caller.world_of(request).messages
    message = messages.sent_as(account.session, request.path_params["taskId"])
    if message is None:
        raise ApiError(404, "Message not found")
    messages.delete(message)
    return JSONResponse({"success": True})


async def react(request: Request) -> Response:
    """`{to, waMessageId, emoji}`: knows no taskId."""
    body = await caller.read_json(request)
    account = caller.account(request, body.get("account"))
    messages = caller.world_of(request).messages
    message = messages.known_as(account.session, caller.text(body, "waMessageId"))
    if account.status != "connected":
        return _not_connected(account)
    if message is None or message.peer != _recipient(body):
        return _refused("Message not found")
    message.reaction = caller.text(body, "emoji")
    messages.save(message)
    return JSONResponse({"success": True, "status": "sent"})


async def media(request: Request) -> Response:
    account = caller.account(request)
    message = caller.world_of(request).messages.known_as(
        account.session, request.path_params["messageId"]
    )
    held = message.media if message else None
    if not held or "base64" not in held:
        raise ApiError(404, "Media not found")
    headers = {"Content-Disposition": 'attachment; filename="file"'}
    return Response(base64.b64decode(held["base64"]), media_type=held["mimetype"], headers=headers)


ROUTES = [
    _sender("text", _text),
    _sender("image", _image),
    _sender("file", _file),
    _sender("location", _location),
    Route("/api/messages/react", react, methods=["POST"]),
    Route("/api/messages/media/{messageId:path}", media),
    Route("/api/messages/{taskId}", delete, methods=["DELETE"]),
]

"""The phone in a person's hand: what it is asked to do, from its page or from a test as JSON."""

import base64
import io
import re
from typing import Any

import segno
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.platform.accounts import Account
from sandbox.platform.accounts import describe as describe_account
from sandbox.platform.caller import read_json, world_of
from sandbox.platform.dialect import PLACEHOLDERS
from sandbox.platform.errors import ApiError
from sandbox.platform.messages import Message, describe
from sandbox.platform.phone_pages import account_page, accounts_page


async def accounts(request: Request) -> Response:
    """List every account; as JSON when asked for."""
    known = list(world_of(request).accounts.by_session.values())
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"accounts": [describe_account(account) for account in known]})
    return HTMLResponse(accounts_page(known))


async def show(request: Request) -> Response:
    account = _account(request)
    messages = world_of(request).messages.of(account.session)
    return HTMLResponse(account_page(account, messages, request.query_params.get("peer")))


async def scan(request: Request) -> Response:
    """Link the phone; `{"qr": code}` insists on that code, as a camera does. 409 when it is not shown."""
    account = _account(request)
    code = (await _read(request)).get("qr")
    if not world_of(request).accounts.scan(account, code):
        raise ApiError(
            409, "There is no such QR code to scan: the account is " + account.wire_status
        )
    return _done(request, {"status": account.wire_status, "phone": account.phone})


async def unlink(request: Request) -> Response:
    """Log the account out from the phone: it goes offline and needs a new scan."""
    return _go_offline(request, log_out=True)


async def offline(request: Request) -> Response:
    """Take the phone off the network: the account goes offline and comes back when it is started."""
    return _go_offline(request, log_out=False)


def _go_offline(request: Request, *, log_out: bool) -> Response:
    account = _account(request)
    world_of(request).accounts.stop(account, log_out=log_out)
    return _done(request, {"status": account.wire_status})


async def conversations(request: Request) -> Response:
    """Return `{"messages": […]}`: all that the phone has, oldest first."""
    messages = world_of(request).messages.of(_account(request).session)
    return JSONResponse({"messages": [describe(message) for message in messages]})


async def write(request: Request) -> Response:
    """A customer writes: `{from, text?, name?, type?, image?: true, media?: {mimetype, base64 | url, filename?}}`."""
    account, body = _linked(request), await _read(request)
    media = _given_media(body) or (_sample_image() if body.get("image") else None)
    kind = str(body.get("type") or _kind(media))
    if kind not in PLACEHOLDERS:
        raise ApiError(400, f"type must be one of {', '.join(PLACEHOLDERS)}")
    peer, text, name = _digits(body, "from"), str(body.get("text") or ""), body.get("name") or None
    message = Message(account.session, peer, "in", kind, text, media, name)
    return _arrived(request, message)


async def echo(request: Request) -> Response:
    """Somebody answers on the phone itself: `{to, text}`."""
    account, body = _linked(request), await _read(request)
    message = Message(
        account.session, _digits(body, "to"), "echo", "chat", str(body.get("text") or "")
    )
    return _arrived(request, message)


def _arrived(request: Request, message: Message) -> Response:
    if not (message.text or message.media):
        raise ApiError(400, "text is required")
    world_of(request).messages.arrive(message)
    return _done(request, {"messageId": message.wa_id}, message.peer)


def _account(request: Request) -> Account:
    account = world_of(request).accounts.by_session.get(request.path_params["session"])
    if account is None:
        raise ApiError(404, "There is no such account")
    return account


def _linked(request: Request) -> Account:
    account = _account(request)
    if account.status != "connected":
        raise ApiError(409, f"This phone is not linked: the account is {account.wire_status}")
    return account


async def _read(request: Request) -> dict[str, Any]:
    return dict(await request.form()) if _is_form(request) else await read_json(request)


def _done(request: Request, answer: dict[str, Any], peer: str = "") -> Response:
    """Send a person back to the page, and tell a test what happened."""
    if not _is_form(request):
        return JSONResponse(answer)
    page = f"/phone/{request.path_params['session']}"
    return RedirectResponse(f"{page}?peer={peer}" if peer else page, 303)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")


def _digits(body: dict[str, Any], name: str) -> str:
    digits = re.sub(r"\D", "", str(body.get(name) or ""))
    if not re.fullmatch(r"[1-9]\d{6,14}", digits):
        raise ApiError(400, f"{name} must be a phone number with its country code")
    return digits


def _given_media(body: dict[str, Any]) -> dict[str, Any] | None:
    media = body.get("media")
    if media is not None and not (
        isinstance(media, dict) and isinstance(media.get("mimetype"), str)
    ):
        raise ApiError(400, "media must be an object with a mimetype")
    return media


def _kind(media: dict[str, Any] | None) -> str:
    """Return the webhook type that the platform gives to media of this mimetype."""
    if media is None:
        return "chat"
    mimetype = media["mimetype"]
    if mimetype.startswith("audio/ogg"):
        return "ptt"
    family = mimetype.split("/")[0]
    return family if family in {"image", "video", "audio"} else "document"


def _sample_image() -> dict[str, str]:
    picture = io.BytesIO()
    segno.make("A picture from the sandbox").save(picture, kind="png", scale=6)
    return {
        "mimetype": "image/png",
        "filename": "file",
        "base64": base64.b64encode(picture.getvalue()).decode(),
    }


ROUTES = [
    Route("/phone", accounts),
    Route("/phone/{session}", show),
    Route("/phone/{session}/scan", scan, methods=["POST"]),
    Route("/phone/{session}/unlink", unlink, methods=["POST"]),
    Route("/phone/{session}/offline", offline, methods=["POST"]),
    Route("/phone/{session}/messages", conversations),
    Route("/phone/{session}/messages", write, methods=["POST"]),
    Route("/phone/{session}/echo", echo, methods=["POST"]),
]

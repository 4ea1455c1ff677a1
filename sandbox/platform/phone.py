"""The phone: its actions, as forms from its page or as JSON from a test."""

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
from sandbox.platform.dialect import PLACEHOLDERS
from sandbox.platform.errors import ApiError
from sandbox.platform.messages import Message, describe
from sandbox.platform.phone_faults import is_in_force, list_faults, switch
from sandbox.platform.phone_pages import render_account, render_accounts
from sandbox.platform.request_data import get_state, read_json


async def list_accounts(request: Request) -> Response:
    """List every account; as JSON when asked for."""
    known = list(get_state(request).accounts.by_session.values())
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"accounts": [describe_account(account) for account in known]})
    return HTMLResponse(render_accounts(known))


async def show_account(request: Request) -> Response:
    account = _load_account(request)
    state = get_state(request)
    messages = state.messages.of(account.session)
    peer = request.query_params.get("peer")
    return HTMLResponse(render_account(account, messages, peer, state.faults))


async def scan_code(request: Request) -> Response:
    """Link the phone; `{"qr": code}` requires that code. 409 if it has expired."""
    account = _load_account(request)
    code = (await _read_body(request)).get("qr")
    if not get_state(request).accounts.scan(account, code):
        raise ApiError(409, f"This QR code is not shown: the account is {account.wire_status}")
    return _answer(request, {"status": account.wire_status, "phone": account.phone})


async def unlink(request: Request) -> Response:
    """Log the account out from the phone: it goes offline and needs a new scan."""
    return _go_offline(request, log_out=True)


async def take_offline(request: Request) -> Response:
    """Take the phone off the network: the account is offline until it is started."""
    return _go_offline(request, log_out=False)


async def switch_fault(request: Request) -> Response:
    """Begin or end a fault of the phone's page: `{fault, peer}`."""
    account, body = _load_account(request), await _read_body(request)
    peer, faults = _read_digits(body, "peer"), get_state(request).faults
    offered = {each.name: each for each in list_faults(account.session, peer)}
    fault = offered.get(str(body.get("fault")))
    if fault is None:
        raise ApiError(400, f"fault must be one of {', '.join(offered)}")
    switch(fault, faults)
    return _answer(request, {"in_force": is_in_force(fault, faults)}, peer)


def _go_offline(request: Request, *, log_out: bool) -> Response:
    account = _load_account(request)
    get_state(request).accounts.stop(account, log_out=log_out)
    return _answer(request, {"status": account.wire_status})


async def list_messages(request: Request) -> Response:
    """Return `{"messages": […]}`: all messages of the phone, oldest first."""
    messages = get_state(request).messages.of(_load_account(request).session)
    return JSONResponse({"messages": [describe(message) for message in messages]})


async def write_as_customer(request: Request) -> Response:
    """Add a customer's message: `{from, text?, name?, type?, image?: true, media?}`.

    `media` is `{mimetype, base64 | url, filename?}`.
    """
    account, body = _require_linked(request), await _read_body(request)
    media = _read_media(body) or (_make_sample_image() if body.get("image") else None)
    kind = str(body.get("type") or _choose_type(media))
    if kind not in PLACEHOLDERS:
        raise ApiError(400, f"type must be one of {', '.join(PLACEHOLDERS)}")
    peer, text, name = (
        _read_digits(body, "from"),
        str(body.get("text") or ""),
        body.get("name") or None,
    )
    message = Message(account.session, peer, "in", kind, text, media, name)
    return _add_message(request, message)


async def write_on_phone(request: Request) -> Response:
    """Add a message that was written on the phone: `{to, text}`."""
    account, body = _require_linked(request), await _read_body(request)
    message = Message(
        account.session, _read_digits(body, "to"), "echo", "chat", str(body.get("text") or "")
    )
    return _add_message(request, message)


def _add_message(request: Request, message: Message) -> Response:
    if not (message.text or message.media):
        raise ApiError(400, "text is required")
    get_state(request).messages.arrive(message)
    return _answer(request, {"messageId": message.wa_id}, message.peer)


def _load_account(request: Request) -> Account:
    account = get_state(request).accounts.by_session.get(request.path_params["session"])
    if account is None:
        raise ApiError(404, "There is no such account")
    return account


def _require_linked(request: Request) -> Account:
    account = _load_account(request)
    if account.status != "connected":
        raise ApiError(409, f"This phone is not linked: the account is {account.wire_status}")
    return account


async def _read_body(request: Request) -> dict[str, Any]:
    return dict(await request.form()) if _is_form(request) else await read_json(request)


def _answer(request: Request, answer: dict[str, Any], peer: str = "") -> Response:
    """Redirect a form back to the page; answer JSON with `answer`."""
    if not _is_form(request):
        return JSONResponse(answer)
    page = f"/phone/{request.path_params['session']}"
    return RedirectResponse(f"{page}?peer={peer}" if peer else page, 303)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")


def _read_digits(body: dict[str, Any], name: str) -> str:
    digits = re.sub(r"\D", "", str(body.get(name) or ""))
    if not re.fullmatch(r"[1-9]\d{6,14}", digits):
        raise ApiError(400, f"{name} must be a phone number with its country code")
    return digits


def _read_media(body: dict[str, Any]) -> dict[str, Any] | None:
    media = body.get("media")
    if media is not None and not (
        isinstance(media, dict) and isinstance(media.get("mimetype"), str)
    ):
        raise ApiError(400, "media must be an object with a mimetype")
    return media


def _choose_type(media: dict[str, Any] | None) -> str:
    """Return the webhook type that the platform gives to media of this mimetype."""
    if media is None:
        return "chat"
    mimetype = media["mimetype"]
    if mimetype.startswith("audio/ogg"):
        return "ptt"
    family = mimetype.split("/")[0]
    return family if family in {"image", "video", "audio"} else "document"


def _make_sample_image() -> dict[str, str]:
    picture = io.BytesIO()
    segno.make("A picture from the sandbox").save(picture, kind="png", scale=6)
    return {
        "mimetype": "image/png",
        "filename": "file",
        "base64": base64.b64encode(picture.getvalue()).decode(),
    }


ROUTES = [
    Route("/phone", list_accounts),
    Route("/phone/{session}", show_account),
    Route("/phone/{session}/scan", scan_code, methods=["POST"]),
    Route("/phone/{session}/unlink", unlink, methods=["POST"]),
    Route("/phone/{session}/offline", take_offline, methods=["POST"]),
    Route("/phone/{session}/faults", switch_fault, methods=["POST"]),
    Route("/phone/{session}/messages", list_messages),
    Route("/phone/{session}/messages", write_as_customer, methods=["POST"]),
    Route("/phone/{session}/echo", write_on_phone, methods=["POST"]),
]

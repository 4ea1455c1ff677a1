"""The phone's pages as HTML; every value from outside is escaped here."""

import mimetypes
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import segno

from sandbox.platform.accounts import Account
from sandbox.platform.faults import Faults
from sandbox.platform.messages import Message
from sandbox.platform.phone_faults import PhoneFault, is_in_force, list_faults

_PAGE = Template(Path(__file__).with_name("phone_page.html").read_text(encoding="utf-8"))
_FORMS = Template(Path(__file__).with_name("phone_forms.html").read_text(encoding="utf-8"))

MAX_SHOWN = 200
"""How many of the latest messages of a conversation a page has."""
SAMPLE_PEER = "79990001122"
TICKS = {
    "queued": "🕓",
    "sent": "✓",
    "delivered": "✓✓",
    "read": "✓✓",
    "deleted": "taken back",
    "dead": "⚠ not sent",
}
HINTS = {
    "starting": "The platform is starting this account.",
    "offline": "This phone is not linked. Connect the account again to get a QR code.",
    "created": "This account waits to be started.",
}


def render_accounts(accounts: list[Account]) -> str:
    rows = "".join(
        f'<a class="row" href="/phone/{account.session}">'
        f"<b>+{account.phone}</b>{_render_badge(account)}"
        f"<small>account {account.session}<br>{escape(account.organization_id)}</small></a>"
        for account in accounts
    )
    nothing = '<p class="hint">No number yet. Connect one, and its phone appears here.</p>'
    return _render_page("Phones", "<h1>Phones</h1>", rows or nothing)


def render_account(
    account: Account, messages: list[Message], peer: str | None, faults: Faults
) -> str:
    """Render the QR code until it is scanned, then the conversations with that of `peer` open."""
    head = f'<h1><a href="/phone">&lsaquo;</a> +{account.phone}</h1>'
    peer = peer or (messages[-1].peer if messages else None)
    buttons = _render_faults(account, peer or SAMPLE_PEER, faults)
    if account.status != "connected":
        live = _render_badge(account) + _render_pairing(account)
        return _render_page(f"+{account.phone}", head, live, faults=buttons)
    forms = _FORMS.substitute(session=account.session, peer=f"+{escape(peer or SAMPLE_PEER)}")
    return _render_page(
        f"+{account.phone}",
        head,
        _render_badge(account)
        + _render_peers(account, messages, peer)
        + _render_chat(messages, peer),
        forms,
        buttons,
    )


def _render_page(title: str, head: str, live: str, forms: str = "", faults: str = "") -> str:
    return _PAGE.substitute(title=title, head=head, live=live, forms=forms, faults=faults)


def _render_faults(account: Account, peer: str, faults: Faults) -> str:
    """Return a button for each fault, with what the pipeline is expected to do."""
    page = f"/phone/{account.session}/faults"
    buttons = "".join(
        _render_fault(each, page, peer, is_on=is_in_force(each, faults))
        for each in list_faults(account.session, peer)
    )
    return (
        '<section class="faults"><h2>Faults of the platform</h2>'
        f"<p>Each says what must happen. They end with a second press, or with the sandbox.</p>"
        f"{buttons}</section>"
    )


def _render_fault(fault: PhoneFault, page: str, peer: str, *, is_on: bool) -> str:
    title = f"End: {fault.title}" if is_on else fault.title
    return (
        f'<form class="{"on" if is_on else "off"}" method="post" action="{page}">'
        f'<input type="hidden" name="peer" value="{escape(peer)}">'
        f'<button class="quiet" id="fault-{fault.name}" name="fault" value="{fault.name}" '
        f'aria-pressed="{str(is_on).lower()}">{escape(title)}</button>'
        f"<p>{escape(fault.expected)}</p></form>"
    )


def _render_badge(account: Account) -> str:
    return f'<span class="badge {account.status}">{account.wire_status}</span>'


def _render_pairing(account: Account) -> str:
    if account.status != "qr":
        return f'<p class="hint">{HINTS[account.status]}</p>'
    picture = segno.make(account.qr or "", error="l").svg_inline(
        omitsize=True, border=2, dark="#0b141a", light="#fff"
    )
    action = f"/phone/{account.session}/scan"
    next_at = _format_time(account.qr_until, "%H:%M:%S")
    return (
        f'<div class="qr">{picture}</div>'
        f'<form class="scan" method="post" action="{action}"><button>Scan</button></form>'
        f'<p class="hint">Code {account.qr_shown}; the next one at {next_at}.</p>'
    )


def _render_peers(account: Account, messages: list[Message], chosen: str | None) -> str:
    peers = {message.peer: message.name for message in messages if message.name}
    recent = dict.fromkeys(message.peer for message in reversed(messages))
    page = f"/phone/{account.session}"
    links = "".join(
        f'<a class="{"peer chosen" if peer == chosen else "peer"}" href="{page}?peer={peer}">'
        f"{escape(peers.get(peer) or '+' + peer)}</a>"
        for peer in recent
    )
    return f'<nav class="peers">{links}</nav>'


def _render_chat(messages: list[Message], peer: str | None) -> str:
    latest = [message for message in messages if message.peer == peer][-MAX_SHOWN:]
    bubbles = "".join(_render_bubble(message) for message in latest)
    hint = "<p class=hint>No message yet. Write one below.</p>"
    return f'<section class="chat">{bubbles or hint}</section>'


def _render_bubble(message: Message) -> str:
    side = "in" if message.direction == "in" else "out"
    ticks = "" if side == "in" else f' <i class="{message.status}">{TICKS[message.status]}</i>'
    origin = "from the phone · " if message.direction == "echo" else ""
    reaction = (
        f'<span class="reaction">{escape(message.reaction)}</span>' if message.reaction else ""
    )
    return (
        f'<div class="bubble {side}">{_render_media(message)}{escape(message.text)}'
        f"<small>{origin}{_format_time(message.at)}{ticks}</small>{reaction}</div>"
    )


def _render_media(message: Message) -> str:
    media = message.media or {}
    if "lat" in media:
        return _render_place(media)
    if "base64" in media and message.type == "image":
        return (
            f'<img alt="" src="data:{escape(media["mimetype"])};base64,{escape(media["base64"])}">'
        )
    if str(media.get("url", "")).startswith(("http://", "https://")):
        return _render_file(message.type, escape(media["url"]), media.get("filename"))
    return f"📎 {escape(message.type)}<br>" if media else ""


def _render_place(place: dict[str, Any]) -> str:
    point = f"{escape(str(place['lat']))},{escape(str(place['lng']))}"
    address = f"{escape(str(place['address']))}<br>" if place.get("address") else ""
    link = f"https://www.openstreetmap.org/?mlat={point.replace(',', '&amp;mlon=')}"
    return f'<a href="{link}" rel="noreferrer">📍 {point.replace(",", ", ")}</a><br>{address}'


def _render_file(kind: str, url: str, filename: str | None) -> str:
    """Return a file as a phone shows it: pictures, videos and sounds play, the rest are links."""
    name = filename or url
    family = (mimetypes.guess_type(name.partition("?")[0])[0] or "").partition("/")[0]
    link = f'<a href="{url}" rel="noreferrer">📎 {escape(name)}</a><br>'
    if kind == "image":
        return f'<a href="{url}" rel="noreferrer"><img alt="{url}" src="{url}"></a>'
    if family in {"video", "audio"}:
        return f'<{family} controls preload="none" src="{url}"></{family}><br>{link}'
    return link


def _format_time(at: float, form: str = "%H:%M") -> str:
    return datetime.fromtimestamp(at).astimezone().strftime(form)

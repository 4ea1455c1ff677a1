"""The phone's pages as HTML; every value from outside is escaped here."""

from datetime import datetime
from html import escape
from pathlib import Path
from string import Template

import segno

from sandbox.platform.accounts import Account
from sandbox.platform.messages import Message

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


def render_account(account: Account, messages: list[Message], peer: str | None) -> str:
    """Render the QR code until it is scanned, then the conversations with that of `peer` open."""
    head = f'<h1><a href="/phone">&lsaquo;</a> +{account.phone}</h1>'
    if account.status != "connected":
        return _render_page(
            f"+{account.phone}", head, _render_badge(account) + _render_pairing(account)
        )
    peer = peer or (messages[-1].peer if messages else None)
    forms = _FORMS.substitute(session=account.session, peer=f"+{escape(peer or SAMPLE_PEER)}")
    return _render_page(
        f"+{account.phone}",
        head,
        _render_badge(account)
        + _render_peers(account, messages, peer)
        + _render_chat(messages, peer),
        forms,
    )


def _render_page(title: str, head: str, live: str, forms: str = "") -> str:
    return _PAGE.substitute(title=title, head=head, live=live, forms=forms)


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
        return f"📍 {escape(str(media['lat']))}, {escape(str(media['lng']))}<br>"
    if "base64" in media and message.type == "image":
        return (
            f'<img alt="" src="data:{escape(media["mimetype"])};base64,{escape(media["base64"])}">'
        )
    if str(media.get("url", "")).startswith(("http://", "https://")):
        label = escape(str(media.get("filename") or media["url"]))
        return f'<a href="{escape(media["url"])}" rel="noreferrer">📎 {label}</a><br>'
    return f"📎 {escape(message.type)}<br>" if media else ""


def _format_time(at: float, form: str = "%H:%M") -> str:
    return datetime.fromtimestamp(at).astimezone().strftime(form)

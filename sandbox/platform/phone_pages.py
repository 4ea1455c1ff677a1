"""The phone's pages, as HTML. Whatever came from outside is escaped here."""

from datetime import datetime
from html import escape
from pathlib import Path
from string import Template

import segno

from sandbox.platform.accounts import Account
from sandbox.platform.messages import Message

_HERE = Path(__file__).parent
_PAGE = Template((_HERE / "phone_page.html").read_text(encoding="utf-8"))
_FORMS = Template((_HERE / "phone_forms.html").read_text(encoding="utf-8"))

SHOWN = 200
"""Messages of one conversation on a page, the latest."""
SAMPLE_PEER = "79990001122"
TICKS = {
    "queued": "🕓",
    "sent": "✓",
    "delivered": "✓✓",
    "read": "✓✓",
    "deleted": "taken back",
    "dead": "⚠ not sent",
}
WORDS = {
    "starting": "The platform is starting this account.",
    "offline": "This phone is not linked. Connect the account again to get a QR code.",
    "created": "This account waits to be started.",
}


def accounts_page(accounts: list[Account]) -> str:
    rows = "".join(
        f'<a class="row" href="/phone/{account.session}"><b>+{account.phone}</b>{_badge(account)}'
        f"<small>account {account.session}<br>{escape(account.organization_id)}</small></a>"
        for account in accounts
    )
    nothing = '<p class="hint">No number yet. Connect one, and its phone appears here.</p>'
    return _page("Phones", "<h1>Phones</h1>", rows or nothing)


def account_page(account: Account, messages: list[Message], peer: str | None) -> str:
    """Show the QR code until it is scanned, then the conversations, the one with `peer` open."""
    head = f'<h1><a href="/phone">&lsaquo;</a> +{account.phone}</h1>'
    if account.status != "connected":
        return _page(f"+{account.phone}", head, _badge(account) + _waiting(account))
    peer = peer or (messages[-1].peer if messages else None)
    forms = _FORMS.substitute(session=account.session, peer=f"+{escape(peer or SAMPLE_PEER)}")
    return _page(
        f"+{account.phone}",
        head,
        _badge(account) + _peers(account, messages, peer) + _chat(messages, peer),
        forms,
    )


def _page(title: str, head: str, live: str, forms: str = "") -> str:
    return _PAGE.substitute(title=title, head=head, live=live, forms=forms)


def _badge(account: Account) -> str:
    return f'<span class="badge {account.status}">{account.wire_status}</span>'


def _waiting(account: Account) -> str:
    if account.status != "qr":
        return f'<p class="hint">{WORDS[account.status]}</p>'
    picture = segno.make(account.qr or "", error="l").svg_inline(
        omitsize=True, border=2, dark="#0b141a", light="#fff"
    )
    return (
        f'<div class="qr">{picture}</div>'
        f'<form class="scan" method="post" action="/phone/{account.session}/scan"><button>Scan</button></form>'
        f'<p class="hint">Code {account.qr_shown}; the next one at {_clock(account.qr_until, "%H:%M:%S")}.</p>'
    )


def _peers(account: Account, messages: list[Message], chosen: str | None) -> str:
    peers = {message.peer: message.name for message in messages if message.name}
    recent = dict.fromkeys(message.peer for message in reversed(messages))
    links = "".join(
        f'<a class="{"peer chosen" if peer == chosen else "peer"}" href="/phone/{account.session}?peer={peer}">'
        f"{escape(peers.get(peer) or '+' + peer)}</a>"
        for peer in recent
    )
    return f'<nav class="peers">{links}</nav>'


def _chat(messages: list[Message], peer: str | None) -> str:
    latest = [message for message in messages if message.peer == peer][-SHOWN:]
    bubbles = "".join(_bubble(message) for message in latest)
    return f'<section class="chat">{bubbles or "<p class=hint>No message yet. Write one below.</p>"}</section>'


def _bubble(message: Message) -> str:
    side = "in" if message.direction == "in" else "out"
    ticks = "" if side == "in" else f' <i class="{message.status}">{TICKS[message.status]}</i>'
    origin = "from the phone · " if message.direction == "echo" else ""
    reaction = (
        f'<span class="reaction">{escape(message.reaction)}</span>' if message.reaction else ""
    )
    return (
        f'<div class="bubble {side}">{_media(message)}{escape(message.text)}'
        f"<small>{origin}{_clock(message.at)}{ticks}</small>{reaction}</div>"
    )


def _media(message: Message) -> str:
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


def _clock(at: float, form: str = "%H:%M") -> str:
    return datetime.fromtimestamp(at).astimezone().strftime(form)

"""Whose conversation an event belongs to: a person's phone, or a chat that never becomes a contact."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shared.phones import PERSON_SERVERS, read_platform_address
from shared.webhooks.payload import find_object, find_value, parse_flag, parse_id

_SERIALIZED = re.compile(r"(true|false)_([^_@\s]+@[a-z.]+)_")
"""WhatsApp Web's spelling of a message's id: whether it is our own, its chat, its own id."""

_HIDDEN = re.compile(r"[0-9]{1,32}")
_LONG = re.compile(r"[0-9]{14,32}")
_CROWDS = ("g.us", "broadcast", "newsletter", "call")
_CROWD_FLAGS = ("isGroup", "isGroupMsg", "isStatus", "isStatusV3", "isNewsletter")


@dataclass(frozen=True)
class Chat:
    """`phone` only for a person. Hidden: a person, but of an address that has no phone in it, `hidden` (`…@lid`).

    A service is an address that no person has.
    """

    phone: str | None
    kind: Literal["person", "crowd", "hidden", "service", "nobody"]
    hidden: str | None = None


def is_own(fields: Mapping[str, Any]) -> bool | None:
    """Return whether the account itself wrote it, or None where that isn't told."""
    flag = find_value(fields, "fromMe", "from_me", "isFromMe")
    if flag is None:
        flag = find_object(fields, "id").get("fromMe")
    return None if flag is None else parse_flag(flag)


def has_own_id(fields: Mapping[str, Any]) -> bool:
    """Return whether a message's id says that the account itself wrote it."""
    return any(match[1] == "true" for match in _serialized_ids(fields))


def find_chat(fields: Mapping[str, Any], *, own: bool) -> Chat:
    """Return the conversation. `own`: we wrote it, so that the peer is who it went to.

    For our own messages some versions give the peer in `from`, some the account's own number there and the peer in
    `to`: where anything names the chat itself, `from` is not asked.
    """
    chat = [
        *_texts(fields, "chatId", "chat_id", "remoteJid"),
        *(match[2] for match in _serialized_ids(fields)),
    ]
    sender = [
        *_texts(fields, "from", "senderPn", "raw_from", "rawFrom"),
        *_texts(find_object(fields, "sender"), "id"),
    ]
    written_to = [*chat, *_texts(fields, "to", "raw_to", "recipient")]
    addresses = (written_to or sender) if own else [*sender, *chat]
    servers = {_server(address) for address in (*written_to, *sender)}
    if servers.intersection(_CROWDS) or any(parse_flag(fields.get(flag)) for flag in _CROWD_FLAGS):
        return Chat(phone=None, kind="crowd")
    hidden = {_user(address) for address in addresses if _server(address) == "lid"}
    phones = (
        read_platform_address(address) for address in addresses if _user(address) not in hidden
    )
    if phone := next((phone for phone in phones if phone), None):
        return Chat(phone=phone, kind="person")
    nameless = next((_user(address) for address in addresses if _is_hidden(address)), None)
    if nameless:
        return Chat(phone=None, kind="hidden", hidden=f"{nameless}@lid")
    return Chat(phone=None, kind="service" if addresses else "nobody")


def _is_hidden(address: str) -> bool:
    """Return whether an address is somebody's hidden id, whose server the platform may have cut off."""
    if _server(address) == "lid":
        return bool(_HIDDEN.fullmatch(_user(address)))
    return bool(_LONG.fullmatch(_user(address))) and _server(address) in ("", *PERSON_SERVERS)


def find_sender_name(fields: Mapping[str, Any]) -> str | None:
    """Return the display name that the sender gave themselves, or None."""
    sender = find_object(fields, "sender")
    names = (
        *_texts(
            fields,
            "notifyName",
            "pushName",
            "pushname",
            "senderName",
            "notify_name",
            "push_name",
            "sender_name",
        ),
        *_texts(sender, "pushname", "pushName", "name", "formattedName", "shortName"),
    )
    return next((name[:255] for name in names if re.search(r"[^\W\d_]|[^\x00-\x7f]", name)), None)


def _serialized_ids(fields: Mapping[str, Any]) -> Iterator[re.Match[str]]:
    for name in ("messageId", "id", "waMessageId", "msgId"):
        if name in fields and (match := _SERIALIZED.match(parse_id(fields[name]) or "")):
            yield match


def _texts(fields: Mapping[str, Any], *names: str) -> list[str]:
    """Return the addresses in the named fields, as texts or as WhatsApp's object of their parts."""
    return [found for name in names if name in fields and (found := parse_id(fields[name]))]


def _user(address: str) -> str:
    return address.partition("@")[0].removeprefix("+")


def _server(address: str) -> str:
    return address.partition("@")[2].lower()

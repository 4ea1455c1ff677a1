"""Find the chat of an event: a person's phone, a hidden id (LID), or a chat without a contact."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shared.phones import PERSON_SERVERS, read_platform_address
from shared.webhooks.fields import find_object, find_value, parse_flag, parse_id

_SERIALIZED_ID = re.compile(r"(true|false)_([^_@\s]+@[a-z.]+)_")
"""WhatsApp Web's spelling of a message id: own message or not, chat, key."""
_ID_FIELDS = ("messageId", "id", "waMessageId", "msgId")

_LID_USER = re.compile(r"[0-9]{1,32}")
_BARE_LID = re.compile(r"[0-9]{14,32}")
"""A user part that is too long for a phone is a LID, even without its server."""
_LID_SERVER = "lid"
_GROUP_SERVERS = ("g.us", "broadcast", "newsletter", "call")
_GROUP_FLAGS = ("isGroup", "isGroupMsg", "isStatus", "isStatusV3", "isNewsletter")
_NAME_FIELDS = (
    "notifyName",
    "pushName",
    "pushname",
    "senderName",
    "notify_name",
    "push_name",
    "sender_name",
)
_SENDER_NAME_FIELDS = ("pushname", "pushName", "name", "formattedName", "shortName")
_VISIBLE = re.compile(r"[^\W\d_]|[^\x00-\x7f]")


@dataclass(frozen=True)
class Chat:
    """The chat of an event.

    person: `phone` is set. lid: a person whose phone WhatsApp hides, `lid` is set. group: a group,
    story, broadcast or channel. service: an address of WhatsApp itself. none: no address at all.
    """

    type: Literal["person", "lid", "group", "service", "none"]
    phone: str | None = None
    lid: str | None = None
    """As `<digits>@lid`."""


def is_own(fields: Mapping[str, Any]) -> bool | None:
    """Return whether the account itself wrote the message, or None where the event has no flag."""
    flag = find_value(fields, "fromMe", "from_me", "isFromMe")
    if flag is None:
        flag = find_object(fields, "id").get("fromMe")
    return None if flag is None else parse_flag(flag)


def has_own_id(fields: Mapping[str, Any]) -> bool:
    """Return whether the message's id says that the account itself wrote it."""
    return any(match[1] == "true" for match in _match_serialized_ids(fields))


def find_chat(fields: Mapping[str, Any], *, own: bool) -> Chat:
    """Return the chat. `own`: the account wrote the message, so that the peer is its recipient.

    In own messages, `from` holds the peer in some versions of the platform and the account's own
    number in newer versions: `from` counts only where no field names the chat.
    """
    chat = [
        *_list_texts(fields, "chatId", "chat_id", "remoteJid"),
        *(match[2] for match in _match_serialized_ids(fields)),
    ]
    sender = [
        *_list_texts(fields, "from", "senderPn", "raw_from", "rawFrom"),
        *_list_texts(find_object(fields, "sender"), "id"),
    ]
    recipients = [*chat, *_list_texts(fields, "to", "raw_to", "recipient")]
    addresses = (recipients or sender) if own else [*sender, *chat]
    servers = {_server(address) for address in (*recipients, *sender)}
    if servers.intersection(_GROUP_SERVERS) or any(parse_flag(fields.get(f)) for f in _GROUP_FLAGS):
        return Chat("group")
    hidden = {_user(address) for address in addresses if _server(address) == _LID_SERVER}
    phones = (
        read_platform_address(address) for address in addresses if _user(address) not in hidden
    )
    if phone := next((phone for phone in phones if phone), None):
        return Chat("person", phone=phone)
    if lid := next((_user(address) for address in addresses if _is_lid(address)), None):
        return Chat("lid", lid=f"{lid}@{_LID_SERVER}")
    return Chat("service" if addresses else "none")


def find_own_phone(fields: Mapping[str, Any], peer: str | None, *, own: bool) -> str | None:
    """Return the account's own number, where a message names both its ends, or None.

    It is the end that is not the peer; in a note to oneself (`own`: the account wrote it) it is
    the peer as well.
    """
    sender = next(map(read_platform_address, _list_texts(fields, "from", "raw_from")), None)
    recipient = next(map(read_platform_address, _list_texts(fields, "to", "raw_to")), None)
    if not (peer and sender and recipient) or peer not in (sender, recipient):
        return None
    if sender == recipient:
        return peer if own else None
    return recipient if sender == peer else sender


def find_sender_name(fields: Mapping[str, Any]) -> str | None:
    """Return the display name that the sender chose, or None."""
    names = (
        *_list_texts(fields, *_NAME_FIELDS),
        *_list_texts(find_object(fields, "sender"), *_SENDER_NAME_FIELDS),
    )
    return next((name[:255] for name in names if _VISIBLE.search(name)), None)


def _is_lid(address: str) -> bool:
    user = _user(address)
    server = _server(address)
    if server == _LID_SERVER:
        return bool(_LID_USER.fullmatch(user))
    return bool(_BARE_LID.fullmatch(user)) and server in ("", *PERSON_SERVERS)


def _match_serialized_ids(fields: Mapping[str, Any]) -> Iterator[re.Match[str]]:
    for name in _ID_FIELDS:
        if name in fields and (match := _SERIALIZED_ID.match(parse_id(fields[name]) or "")):
            yield match


def _list_texts(fields: Mapping[str, Any], *names: str) -> list[str]:
    """Return the texts in the named fields; an address may also be WhatsApp's object."""
    return [text for name in names if name in fields and (text := parse_id(fields[name]))]


def _user(address: str) -> str:
    return address.partition("@")[0].removeprefix("+")


def _server(address: str) -> str:
    return address.partition("@")[2].lower()

"""Find the chat of an event: a person's phone, a hidden id (LID), or a chat without a contact."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from shared.webhooks.addresses import Address, read_address, spell_address
from shared.webhooks.fields import (
    find_object,
    find_value,
    parse_flag,
    parse_id,
    squeeze_name,
)
from shared.webhooks.message_ids import MessageKey, parse_key

_ID_FIELDS = ("messageId", "id", "waMessageId", "msgId")
_CHAT_FIELDS = ("chatId", "remoteJid", "peerJid")
_SENDER_FIELDS = ("from", "senderPn", "rawFrom", "raw_from")
_RECIPIENT_FIELDS = ("to", "rawTo", "raw_to", "recipient", "recipientId")
_AUTHOR_FIELDS = ("author", "participant", "participantPn", "participantAlt")
_GROUP_FLAGS = frozenset({"isGroup", "isGroupMsg", "isStatus", "isStatusV3", "isNewsletter"})
_IGNORED_KINDS = frozenset({"group", "story"})
_PEER_NAMES = frozenset({"remotejidalt", "chatalt", "chatpn", "chatlid"})
"""Fields that hold a person's further address, in messages of either direction."""
_SENDER_NAMES = frozenset(
    {
        *("senderpn", "senderalt", "senderlid", "participantpn", "participantalt"),
        *("participantlid", "fromalt", "frompn", "fromlid", "authorpn", "authoralt", "authorlid"),
        *("callerpn", "callerlid"),
    }
)
_RECIPIENT_NAMES = frozenset(
    {"recipientpn", "recipientalt", "recipientlid", "peerrecipientpn", "toalt", "topn", "tolid"}
)
_PERSON_NAMES = frozenset({"id", "lid", "pn", "phone", "phonenumber", "phonejid", "waid", "jid"})
"""Fields that hold a person's further address within an object about the person."""
_SENDER_OBJECTS = frozenset({"sender", "senderobj", "author", "from"})
_PEER_OBJECTS = frozenset({"chat", "profile"})
_UNRELATED = frozenset({"me", "owner", "media", "quotedmsg", "quotedmsgobj", "contextinfo"})
"""Objects about the account itself, about a file, and about another message."""
_MAX_LEVELS = 5
_MAX_FIELDS = 100
_MAX_ITEMS = 10
_MAX_ADDRESS = 64


@dataclass(frozen=True)
class Chat:
    """The chat of an event.

    person: `phone` is set. lid: a person whose phone WhatsApp hides, `lid` is set. group: a group,
    story, broadcast or channel. service: an address of WhatsApp itself. unreadable: `address` is
    no spelling of an address. none: no address at all.
    """

    type: Literal["person", "lid", "group", "service", "unreadable", "none"]
    phone: str | None = None
    lid: str | None = None
    """As `<digits>@lid`; beside a phone where the event shows both."""
    address: str | None = None


def is_own(fields: Mapping[str, Any]) -> bool | None:
    """Return whether the account itself wrote the message, or None where the event has no flag."""
    flag = find_value(fields, "fromMe", "isFromMe", "from_me")
    if flag is None:
        flag = find_object(fields, "id").get("fromMe")
    return None if flag is None else parse_flag(flag)


def has_own_id(fields: Mapping[str, Any]) -> bool:
    """Return whether the message's id says that the account itself wrote it."""
    return any(key.outgoing for key in _list_keys(fields))


def find_chat(fields: Mapping[str, Any], *, own: bool) -> Chat:
    """Return the chat. `own`: the account wrote the message, so that the peer is its recipient.

    In own messages, `from` holds the peer in some versions of the platform and the account's own
    number in newer versions: `from` counts only where no field names the chat.
    """
    keys = list(_list_keys(fields))
    chat = [
        *_list_texts(fields, *_CHAT_FIELDS),
        *(_list_texts(find_object(fields, "chat"), "id") if "chat" in fields else ()),
        *(key.chat for key in keys if key.chat),
    ]
    sender = [
        *_list_texts(fields, *_SENDER_FIELDS),
        *(_list_texts(find_object(fields, "sender"), "id") if "sender" in fields else ()),
    ]
    recipients = [*chat, *_list_texts(fields, *_RECIPIENT_FIELDS)]
    texts = (recipients or sender) if own else [*sender, *chat]
    if not (texts or own or recipients):
        texts = _list_texts(fields, "sender", *_AUTHOR_FIELDS)
    kinds = {read_address(text).kind for text in {*recipients, *sender}}
    if not kinds.isdisjoint(_IGNORED_KINDS) or _has_group_flag(fields):
        return Chat("group")
    if "list" in kinds:
        if own:
            return Chat("group")
        authors = (key.participant for key in keys if key.participant)
        texts = [*texts, *_list_texts(fields, *_AUTHOR_FIELDS), *authors]
    return _choose_chat(texts, fields, own=own)


def find_own_phone(fields: Mapping[str, Any], peer: str | None, *, own: bool) -> str | None:
    """Return the account's own number, where a message names both its ends, or None.

    It is the end that is not the peer; in a note to oneself (`own`: the account wrote it) it is
    the peer as well.
    """
    sender, recipient = (
        next((read_address(text).phone for text in _list_texts(fields, *names)), None)
        for names in (("from", "rawFrom"), ("to", "rawTo"))
    )
    if not (peer and sender and recipient) or peer not in (sender, recipient):
        return None
    if sender == recipient:
        return peer if own else None
    return recipient if sender == peer else sender


def _has_group_flag(fields: Mapping[str, Any]) -> bool:
    if _GROUP_FLAGS.isdisjoint(fields):
        return False
    return any(parse_flag(fields.get(flag)) for flag in _GROUP_FLAGS)


def _choose_chat(texts: list[str], fields: Mapping[str, Any], *, own: bool) -> Chat:
    """Return the chat that the addresses of its person name."""
    addresses = [read_address(text) for text in texts]
    hidden = {address.lid for address in addresses if address.lid}
    phone = next((a.phone for a in addresses if a.phone and f"{a.phone}@lid" not in hidden), None)
    lid = next((address.lid for address in addresses if address.lid), None)
    if phone is None or lid is None:
        for address in list_other_addresses(fields, own=own):
            phone = phone or address.phone
            lid = lid or address.lid
            if phone and lid:
                break
    if phone:
        return Chat("person", phone=phone, lid=lid)
    if lid:
        return Chat("lid", lid=lid)
    for text, address in zip(texts, addresses, strict=True):
        if address.kind == "unreadable":
            return Chat("unreadable", address=text[:_MAX_ADDRESS])
    return Chat("service" if texts else "none")


def list_other_addresses(fields: Mapping[str, Any], *, own: bool) -> Iterator[Address]:
    """Yield the further addresses of the chat's person, wherever the event names them.

    Not the account's own: of an incoming message, that of the recipient, of an own message, that
    of the sender.
    """
    names = _PEER_NAMES | (_RECIPIENT_NAMES if own else _SENDER_NAMES)
    objects = _PEER_OBJECTS if own else _PEER_OBJECTS | _SENDER_OBJECTS
    skipped = _UNRELATED | _SENDER_OBJECTS if own else _UNRELATED
    for text in _walk(fields, names, objects, skipped):
        address = read_address(text)
        if address.kind in ("person", "lid"):
            yield address


def _walk(
    fields: Mapping[str, Any],
    names: frozenset[str],
    objects: frozenset[str],
    skipped: frozenset[str],
) -> Iterator[str]:
    """Yield the texts of the named fields at any level, outer levels first."""
    level: list[tuple[Mapping[str, Any], frozenset[str]]] = [(fields, names)]
    for _ in range(_MAX_LEVELS):
        for part, wanted in level:
            select = _select_names if len(part) <= _MAX_FIELDS else _select_names.__wrapped__
            for name in select(tuple(part), wanted):
                if text := spell_address(part[name]):
                    yield text
        level = [
            inner for part, wanted in level for inner in _list_parts(part, wanted, objects, skipped)
        ]


def _list_parts(
    fields: Mapping[str, Any],
    names: frozenset[str],
    objects: frozenset[str],
    skipped: frozenset[str],
) -> Iterator[tuple[Mapping[str, Any], frozenset[str]]]:
    """Yield the objects within an object, with the names that are wanted in each."""
    for name, value in fields.items():
        if not isinstance(value, dict | list):
            continue
        plain = squeeze_name(name)
        if plain not in skipped:
            inner = names | _PERSON_NAMES if plain in objects else names
            values = value[:_MAX_ITEMS] if isinstance(value, list) else (value,)
            yield from ((each, inner) for each in values if isinstance(each, dict))


@lru_cache(maxsize=1024)
def _select_names(names: tuple[str, ...], wanted: frozenset[str]) -> tuple[str, ...]:
    """Return the names that are wanted. Most events have the same names as an earlier event."""
    return tuple(name for name in names if squeeze_name(name) in wanted)


def _list_keys(fields: Mapping[str, Any]) -> Iterator[MessageKey]:
    for name in _ID_FIELDS:
        if name in fields and (found := parse_id(fields[name])):
            key = parse_key(found)
            if key.chat:
                yield key


def _list_texts(fields: Mapping[str, Any], *names: str) -> list[str]:
    """Return the texts in the named fields; an address may also be WhatsApp's object."""
    found = []
    for name in names:
        value = fields.get(name)
        if value is not None and (text := spell_address(value)):
            found.append(text)
    return found

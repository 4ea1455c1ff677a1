"""Read WhatsApp's addresses in every usual spelling: a person, a hidden id, a group, a list."""

import re
import unicodedata
from contextlib import suppress
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from shared.phones import normalize, read_platform_address
from shared.webhooks.fields import MAX_ID, find_value, parse_id, parse_text

LID_SERVER = "lid"
_PERSON_SERVERS = frozenset({"", "c.us", "s.whatsapp.net", "hosted", "whatsapp.net"})
"""`hosted`: a number of Meta's Cloud API that a business keeps on its phone as well."""
_LID_SERVERS = frozenset({LID_SERVER, "hosted.lid"})
_GROUP_SERVERS = frozenset({"g.us", "newsletter", "call", "groups"})
_SCHEME = re.compile(r"(?:whatsapp|tel|sms|sip):(?://)?|(?:https?://)?wa\.me/")
_DEVICE = re.compile(r"(?:[._][0-9]{1,3})?:[0-9]{1,5}$|[._][0-9]{1,3}$")
"""An account's further device, and the agent that answers for it: 447123456789.0:5."""
_BARE_DEVICE = re.compile(r"(?:[._][0-9]{1,3})?:[0-9]{1,5}$")
_PLAIN = re.compile(r"\+?[1-9][0-9]{6,12}(?:@(?:c\.us|s\.whatsapp\.net))?")
"""A spelling that needs no cleaning; up to 13 digits, since most longer numbers are hidden ids."""
_PUNCTUATION = re.compile(r"[\s().\-/+\u2010-\u2015]+")
_TRUNK_ZERO = re.compile(r"\(0\)")
_LID_USER = re.compile(r"[0-9]{1,32}")
_BARE_LID = re.compile(r"[0-9]{14,32}")
"""A user part that is too long for a phone is a hidden id, even without its server."""
_GROUP_USER = re.compile(r"120363[0-9]{12}|[0-9]{7,15}-[0-9]{10}")
"""The user part of a group, without its server: 120363…, or its founder and its time."""
_SERVICE_USERS = frozenset({"0", "server", ""})

AddressKind = Literal["person", "lid", "group", "story", "list", "service", "unreadable"]


class Address(NamedTuple):
    """What an address names.

    person: `phone` is set. lid: `lid` is set. group: also a channel. story: status@broadcast.
    list: a broadcast list. service: WhatsApp itself. unreadable: any further spelling.
    """

    kind: AddressKind
    phone: str | None = None
    lid: str | None = None
    """A person's hidden id, as `<digits>@lid`."""


def spell_address(value: Any) -> str | None:
    """Return the text of an address, which may also be WhatsApp's object with `_serialized`."""
    if isinstance(value, str):
        if len(value) > MAX_ID:
            return None
        return (
            value.strip() or None if value.isascii() and "\x00" not in value else parse_text(value)
        )
    if isinstance(value, dict):
        user, server = parse_id(value.get("user")), parse_id(value.get("server"))
        if user and server:
            return f"{user}@{server}"
        inner = find_value(value, "_serialized", "id", "jid")
        value = find_value(inner, "_serialized", "user") if isinstance(inner, dict) else inner
    return parse_id(value)


@lru_cache(maxsize=4096)
def read_address(raw: str) -> Address:
    """Return what a text names. Never raises."""
    if _PLAIN.fullmatch(raw) and (phone := read_platform_address(raw)):
        return Address("person", phone=phone)
    user, server = _split(raw)
    if server in _GROUP_SERVERS or (server == "" and _GROUP_USER.fullmatch(user)):
        return Address("group")
    if server == "broadcast":
        return Address("story" if user == "status" else "list")
    if server in _LID_SERVERS:
        known = _LID_USER.fullmatch(user)
        return Address("lid", lid=f"{user}@{LID_SERVER}") if known else Address("unreadable")
    if server == "bot" or (server in _PERSON_SERVERS and user in _SERVICE_USERS):
        return Address("service")
    return _read_person(user, server) if server in _PERSON_SERVERS else Address("unreadable")


def _read_person(user: str, server: str) -> Address:
    digits = _PUNCTUATION.sub("", _TRUNK_ZERO.sub("", user)).removeprefix("00")
    if phone := read_platform_address(digits):
        return Address("person", phone=phone)
    if _BARE_LID.fullmatch(digits):
        return Address("lid", lid=f"{digits}@{LID_SERVER}")
    if not server:
        with suppress(ValueError):  # as a person writes it, without the country code
            return Address("person", phone=normalize(user))
    return Address("unreadable")


def _split(raw: str) -> tuple[str, str]:
    """Return user and server, in lower case, without invisible marks and devices."""
    text = raw if raw.isascii() else _unify_characters(raw)
    text = _SCHEME.sub("", text.strip().lower(), count=1)
    user, _, server = text.partition("@")
    user = (_DEVICE if server else _BARE_DEVICE).sub("", user.strip())
    return user, server.partition("/")[0].strip(" .")


def _unify_characters(raw: str) -> str:
    """Return a text with plain digits and letters, and without direction marks."""
    return "".join(
        str(unicodedata.decimal(char)) if char.isdecimal() else char
        for char in unicodedata.normalize("NFKC", raw)
        if unicodedata.category(char) != "Cf"
    )

"""Read the contacts that a message shares: vCards 2.1 to 4.0, and Meta's contact objects."""

import codecs
import quopri
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from shared.webhooks.fields import find_object, find_value, parse_text, scrub_text

MAX_CONTACTS = 10
_MAX_VCARD = 65_536
_MAX_NAME = 255
_MAX_PHONES = 5
_MAX_PHONE = 64
_SLOW_CODECS = frozenset({"punycode", "idna"})
"""Python's codecs of host names: they take a second for 64 KB, and no vCard is written in them."""
_LIST_FIELDS = ("vcardList", "contacts", "vCards", "vcards", "contactsArray")
_VCARD_FIELDS = ("vcard", "vCard", "body", "text")
_FOLD = re.compile(r"\r?\n[ \t]|\r[ \t]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_NAME = re.compile(r"(?:[\w-]+\.)?([A-Za-z-]+)((?:;.*)?)", re.DOTALL)
_ESCAPED = re.compile(r"\\([\\,;:nN])")
_SCHEME = re.compile(r"tel:", re.IGNORECASE)
_END_OF_CARD = re.compile(r"END:VCARD", re.IGNORECASE)


class _Line(NamedTuple):
    """A line of a vCard, decoded, with its backslashes."""

    name: str
    value: str


def parse_vcards(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return name and phones of each contact, as the sender's address book spells them."""
    listed = find_value(fields, *_LIST_FIELDS)
    values = [
        *(listed[:MAX_CONTACTS] if isinstance(listed, list) else ()),
        *(fields.get(name) for name in _VCARD_FIELDS),
    ]
    found = [contact for value in values for contact in _parse_contacts(value)]
    return found[:MAX_CONTACTS]


def is_vcard(value: Any) -> bool:
    """Return whether a value is the text of a vCard."""
    return isinstance(value, str) and value.lstrip("\ufeff \t\r\n")[:11].upper() == "BEGIN:VCARD"


def _parse_contacts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        vcard = find_value(value, "vcard", "vCard")
        if is_vcard(vcard):
            yield from _parse_text(vcard, parse_text(value.get("displayName")))
        elif contact := _parse_object(value):
            yield contact
    elif is_vcard(value):
        yield from _parse_text(value, None)


def _parse_text(text: str, display_name: str | None) -> Iterator[dict[str, Any]]:
    """Yield the contact of each vCard in a text."""
    for card in _END_OF_CARD.split(text[:_MAX_VCARD])[:MAX_CONTACTS]:
        if is_vcard(card):
            lines = list(_iterate_lines(card))
            phones = [_SCHEME.sub("", line.value) for line in lines if line.name == "TEL"]
            yield _build_contact(_choose_name(lines) or display_name, phones)


def _parse_object(contact: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a contact of Meta's Cloud API."""
    phones = contact.get("phones")
    name = find_object(contact, "name")
    if not isinstance(phones, list):
        return None
    spelled = parse_text(find_value(name, "formatted_name", "first_name", "last_name"))
    numbers = (find_value(each, "phone", "wa_id") for each in phones if isinstance(each, dict))
    return _build_contact(spelled, [text for each in numbers if (text := parse_text(each))])


def _build_contact(name: str | None, phones: list[str]) -> dict[str, Any]:
    listed = dict.fromkeys(phone.strip()[:_MAX_PHONE] for phone in phones if phone.strip())
    return {"name": (name or "").strip()[:_MAX_NAME], "phones": list(listed)[:_MAX_PHONES]}


def _choose_name(lines: list[_Line]) -> str | None:
    """Return the formatted name, else the structured name, the organization or the nickname."""
    by_name: dict[str, str] = {}
    for line in lines:
        if line.value.strip(" ;"):
            by_name.setdefault(line.name, line.value)
    if name := by_name.get("FN"):
        return _unescape(name)
    if name := by_name.get("N"):
        family, *given = (_unescape(part).strip() for part in re.split(r"(?<!\\);", name)[:3])
        return " ".join(filter(None, (*given, family)))
    other = by_name.get("ORG") or by_name.get("NICKNAME")
    return _unescape(other).replace(";", " ").strip() if other else None


def _iterate_lines(card: str) -> Iterator[_Line]:
    """Yield the lines of a vCard; a line of quoted-printable goes on after a final "="."""
    rest = iter(_LINE_END.split(_FOLD.sub("", card)))
    for text in rest:
        head, separator, value = _split_line(text)
        match = _NAME.fullmatch(head.strip()) if separator else None
        if not match:
            continue
        parameters = match[2].upper()
        if "QUOTED-PRINTABLE" in parameters:
            while value.endswith("=") and (more := next(rest, None)) is not None:
                value = f"{value[:-1]}{more}"
            value = _decode(value, parameters)
        yield _Line(match[1].upper(), scrub_text(value))


def _split_line(text: str) -> tuple[str, str, str]:
    """Split a line at its first colon that is outside quotes."""
    quoted = False
    for place, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif char == ":" and not quoted:
            return text[:place], char, text[place + 1 :]
    return text, "", ""


def _decode(value: str, parameters: str) -> str:
    """Decode quoted-printable in the declared charset, UTF-8 by default."""
    encoded = quopri.decodestring(value.encode("utf-8", "replace"))
    charset = re.search(r"CHARSET=\"?([\w.-]+)", parameters)
    try:
        codec = codecs.lookup(charset[1] if charset else "utf-8").name
        return encoded.decode("utf-8" if codec in _SLOW_CODECS else codec)
    except (LookupError, ValueError):
        return encoded.decode("utf-8", "replace")


def _unescape(value: str) -> str:
    return _ESCAPED.sub(lambda match: "\n" if match[1] in "nN" else match[1], value)

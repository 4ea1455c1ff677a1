"""Read the contacts that a message shares, as vCards."""

import re
from collections.abc import Mapping
from typing import Any

from shared.webhooks.fields import find_value

MAX_CONTACTS = 10
_MAX_VCARD = 65_536
_MAX_NAME = 255
_MAX_PHONES = 5
_MAX_PHONE = 64
_LIST_FIELDS = ("vcardList", "contacts", "vCards")
_VCARD_FIELDS = ("vcard", "body", "text")
_NAME = re.compile(r"^FN[^:\r\n]*:([^\r\n]+)", re.MULTILINE)
_PHONE = re.compile(r"^(?:item[0-9]+\.)?TEL[^:\r\n]*:([^\r\n]+)", re.MULTILINE)


def parse_vcards(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return name and phones of each vCard, as the sender's address book spells them."""
    listed = find_value(fields, *_LIST_FIELDS)
    values = [
        *(listed[:MAX_CONTACTS] if isinstance(listed, list) else ()),
        *(fields.get(name) for name in _VCARD_FIELDS),
    ]
    vcards = (find_value(value, "vcard") if isinstance(value, dict) else value for value in values)
    return [_parse_vcard(vcard[:_MAX_VCARD]) for vcard in vcards if is_vcard(vcard)][:MAX_CONTACTS]


def is_vcard(value: Any) -> bool:
    """Return whether a value is the text of a vCard."""
    return isinstance(value, str) and value.lstrip()[:11].upper() == "BEGIN:VCARD"


def _parse_vcard(vcard: str) -> dict[str, Any]:
    name = _NAME.search(vcard)
    return {
        "name": name[1].strip()[:_MAX_NAME] if name else "",
        "phones": [phone.strip()[:_MAX_PHONE] for phone in _PHONE.findall(vcard)[:_MAX_PHONES]],
    }

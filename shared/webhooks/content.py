"""What a message says: its text, its file, or what stands for them in a list of messages."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.events import MAX_TEXT
from shared.outcomes import Content
from shared.webhooks.attachments import Attachment, attached, file_name, file_type, is_blob
from shared.webhooks.payload import Shape, first, identifier, members, text, truth
from shared.webhooks.vocabulary import CONTENTS, plain

_PLACEHOLDER = re.compile(
    r"\s*\[(image|video|audio|document|file|sticker|voice|media|ptt)\]\s*", re.IGNORECASE
)
WRITTEN = ("text", "body", "message", "content")
"""Where a message's words stand; beside a file, or in place of it, they may be the file itself."""
_MAX_CARDS = 10
_MAX_CARD = 65_536


@dataclass(frozen=True)
class Said:
    """A message's content. `text` is empty only beside a file, whose caption it is."""

    content: Content
    text: str
    file_name: str | None = None
    file_type: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def said(shape: Shape) -> Said:
    """Return what a message says."""
    fields, attachment, word = shape.fields, attached(shape.fields), _word(shape)
    content = _content(word, attachment)
    metadata: dict[str, Any] = {"kind": word[:64]} if content == "other" else {}
    if (place := _place(fields)) and content in ("location", "other", "text"):
        content, metadata["location"] = "location", place
    if content in ("contact", "other") and (cards := _cards(fields)):
        content, metadata["contacts"] = "contact", cards
    metadata |= _circumstances(fields)
    words = _written(fields, content, attachment)
    if len(words) > MAX_TEXT:
        words, metadata["truncated"] = words[:MAX_TEXT], True
    return Said(
        content=content,
        text=words if words or attachment else _stand_in(content, word, metadata),
        file_name=file_name(attachment, content) if attachment else None,
        file_type=file_type(attachment, content) if attachment else None,
        metadata=metadata,
    )


def written(fields: Mapping[str, Any]) -> str:
    """Return the text that an edit gives a message."""
    new = _plain_text(first(fields, "newText", "newBody", "newMessage"))
    return (new or _written(fields, "text", None))[:MAX_TEXT]


def _word(shape: Shape) -> str:
    """Return the word for the kind of content: an envelope's inner type, or the flat message's own."""
    inner = text(first(shape.fields, "messageType", "message_type", "mediaType", "kind"))
    own = shape.word if shape.flat else text(shape.fields.get("type"))
    for word in (own, inner, shape.word):
        if word and plain(word) in CONTENTS:
            return plain(word)
    return plain(own or shape.word)


def _content(word: str, attachment: Attachment | None) -> Content:
    content = CONTENTS.get(word)
    if attachment and (content in (None, "text") or word == "file"):
        family = (file_type(attachment, "")).partition("/")[0]
        return {"image": "image", "video": "video", "audio": "audio"}.get(family, "document")  # type: ignore[return-value]
    if content:
        return content
    return "text" if "message" in word or word == "unknown" else "other"


def _written(fields: Mapping[str, Any], content: Content, attachment: Attachment | None) -> str:
    """Return the text, or the caption. A placeholder before it is cut only where there is the file it stood for."""
    texts = (_plain_text(fields.get(name)) for name in WRITTEN)
    hidden = content in ("location", "contact")  # their body is a picture of the map, or the card
    plain_text = content == "text"  # nobody's words are lost for looking like a file
    written = next((found for found in texts if found and (plain_text or not is_blob(found))), "")
    if hidden and (is_card(written) or not fields.get("text")):
        written = ""
    if attachment:
        written = _PLACEHOLDER.sub("", written, count=1) if _PLACEHOLDER.match(written) else written
    caption = text(first(fields, "caption")) or (attachment.caption if attachment else None)
    return written or caption or ""


def _plain_text(value: Any) -> str | None:
    if isinstance(value, dict):
        value = first(value, "body", "text", "caption")
    return text(value)


def _place(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    where = members(fields, "location") or fields
    lat = _degrees(first(where, "lat", "latitude", "degreesLatitude"), 90)
    lng = _degrees(first(where, "lng", "lon", "longitude", "degreesLongitude"), 180)
    if lat is None or lng is None:
        return None
    named = {
        name: found[:1024]
        for name, value in (
            ("name", first(where, "name", "loc", "description")),
            ("address", where.get("address")),
        )
        if (found := text(value))
    }
    return {"lat": lat, "lng": lng, **named}


def _degrees(value: Any, limit: float) -> float | None:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= limit else None


def _cards(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return name and phones of each vCard, as the sender's phone book has them."""
    several = first(fields, "vcardList", "contacts", "vCards")
    found = [
        *(several[:_MAX_CARDS] if isinstance(several, list) else ()),
        *(fields.get(n) for n in _CARD_FIELDS),
    ]
    cards = [first(card, "vcard") if isinstance(card, dict) else card for card in found]
    return [_card(card[:_MAX_CARD]) for card in cards if is_card(card)][:_MAX_CARDS]


_CARD_FIELDS = ("vcard", "body", "text")


def is_card(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip()[:11].upper() == "BEGIN:VCARD"


def _card(card: str) -> dict[str, Any]:
    name = re.search(r"^FN[^:\r\n]*:([^\r\n]+)", card, re.MULTILINE)
    phones = re.findall(r"^(?:item[0-9]+\.)?TEL[^:\r\n]*:([^\r\n]+)", card, re.MULTILINE)
    return {
        "name": name[1].strip()[:255] if name else "",
        "phones": [phone.strip()[:64] for phone in phones[:5]],
    }


def _circumstances(fields: Mapping[str, Any]) -> dict[str, Any]:
    quoted = identifier(
        first(fields, "quotedMsgId", "quotedMessageId", "quotedStanzaID", "replyTo")
    )
    forwarded = truth(fields.get("isForwarded"))
    return ({"reply_to": quoted} if quoted else {}) | ({"forwarded": True} if forwarded else {})


def _stand_in(content: Content, word: str, metadata: Mapping[str, Any]) -> str:
    """Return what is shown for a message that has neither text nor file: never nothing."""
    if place := metadata.get("location"):
        return str(place.get("name") or place.get("address") or f"{place['lat']}, {place['lng']}")
    if cards := metadata.get("contacts"):
        return "\n".join(
            ", ".join(filter(None, (card["name"], *card["phones"]))) or "[Contact]"
            for card in cards
        )
    label = word.replace(".", " ") if content == "other" else content
    return f"[{(label if label != 'text' else 'empty message')[:64].capitalize()}]"

"""What a message says: its text, its file, or what stands for them in a list of messages."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.events import MAX_TEXT_CHARS
from shared.outcomes import ContentType
from shared.webhooks.attachments import (
    Attachment,
    build_file_name,
    find_attachment,
    is_file_data,
    resolve_mime_type,
)
from shared.webhooks.payload import (
    Payload,
    find_object,
    find_value,
    parse_flag,
    parse_id,
    parse_text,
)
from shared.webhooks.vocabulary import CONTENT_TYPES, normalize_word

_PLACEHOLDER = re.compile(
    r"\s*\[(image|video|audio|document|file|sticker|voice|media|ptt)\]\s*", re.IGNORECASE
)
TEXT_FIELDS = ("text", "body", "message", "content")
"""Where a message's words stand; beside a file, or in place of it, they may be the file itself."""
_MAX_CARDS = 10
_MAX_CARD = 65_536


@dataclass(frozen=True)
class MessageContent:
    """A message's content. `text` is empty only beside a file, whose caption it is."""

    content: ContentType
    text: str
    file_name: str | None = None
    file_type: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def read_content(shape: Payload) -> MessageContent:
    """Return what a message says."""
    fields, attachment, word = shape.fields, find_attachment(shape.fields), _word(shape)
    content = _content(word, attachment)
    metadata: dict[str, Any] = {"kind": word[:64]} if content == "other" else {}
    if (place := _place(fields)) and content in ("location", "other", "text"):
        content, metadata["location"] = "location", place
    if content in ("contact", "other") and (cards := _cards(fields)):
        content, metadata["contacts"] = "contact", cards
    metadata |= _circumstances(fields)
    words = _written(fields, content, attachment)
    if len(words) > MAX_TEXT_CHARS:
        words, metadata["truncated"] = words[:MAX_TEXT_CHARS], True
    return MessageContent(
        content=content,
        text=words if words or attachment else _stand_in(content, word, metadata),
        file_name=build_file_name(attachment, content) if attachment else None,
        file_type=resolve_mime_type(attachment, content) if attachment else None,
        metadata=metadata,
    )


def read_edited_text(fields: Mapping[str, Any]) -> str:
    """Return the text that an edit gives a message."""
    new = _plain_text(find_value(fields, "newText", "newBody", "newMessage"))
    return (new or _written(fields, "text", None))[:MAX_TEXT_CHARS]


def _word(shape: Payload) -> str:
    """Return the word for the kind of content: an envelope's inner type, or the flat message's own."""
    inner = parse_text(find_value(shape.fields, "messageType", "message_type", "mediaType", "kind"))
    own = shape.word if shape.flat else parse_text(shape.fields.get("type"))
    for word in (own, inner, shape.word):
        if word and normalize_word(word) in CONTENT_TYPES:
            return normalize_word(word)
    return normalize_word(own or shape.word)


def _content(word: str, attachment: Attachment | None) -> ContentType:
    content = CONTENT_TYPES.get(word)
    if attachment and (content in (None, "text") or word == "file"):
        family = (resolve_mime_type(attachment, "")).partition("/")[0]
        return {"image": "image", "video": "video", "audio": "audio"}.get(family, "document")  # type: ignore[return-value]
    if content:
        return content
    return "text" if "message" in word or word == "unknown" else "other"


def _written(fields: Mapping[str, Any], content: ContentType, attachment: Attachment | None) -> str:
    """Return the text, or the caption. A placeholder before it is cut only where there is the file it stood for."""
    texts = (_plain_text(fields.get(name)) for name in TEXT_FIELDS)
    hidden = content in ("location", "contact")  # their body is a picture of the map, or the card
    plain_text = content == "text"  # nobody's words are lost for looking like a file
    written = next(
        (found for found in texts if found and (plain_text or not is_file_data(found))), ""
    )
    if hidden and (is_vcard(written) or not fields.get("text")):
        written = ""
    if attachment:
        written = _PLACEHOLDER.sub("", written, count=1) if _PLACEHOLDER.match(written) else written
    caption = parse_text(find_value(fields, "caption")) or (
        attachment.caption if attachment else None
    )
    return written or caption or ""


def _plain_text(value: Any) -> str | None:
    if isinstance(value, dict):
        value = find_value(value, "body", "text", "caption")
    return parse_text(value)


def _place(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    where = find_object(fields, "location") or fields
    lat = _degrees(find_value(where, "lat", "latitude", "degreesLatitude"), 90)
    lng = _degrees(find_value(where, "lng", "lon", "longitude", "degreesLongitude"), 180)
    if lat is None or lng is None:
        return None
    named = {
        name: found[:1024]
        for name, value in (
            ("name", find_value(where, "name", "loc", "description")),
            ("address", where.get("address")),
        )
        if (found := parse_text(value))
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
    several = find_value(fields, "vcardList", "contacts", "vCards")
    found = [
        *(several[:_MAX_CARDS] if isinstance(several, list) else ()),
        *(fields.get(n) for n in _CARD_FIELDS),
    ]
    cards = [find_value(card, "vcard") if isinstance(card, dict) else card for card in found]
    return [_card(card[:_MAX_CARD]) for card in cards if is_vcard(card)][:_MAX_CARDS]


_CARD_FIELDS = ("vcard", "body", "text")


def is_vcard(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip()[:11].upper() == "BEGIN:VCARD"


def _card(card: str) -> dict[str, Any]:
    name = re.search(r"^FN[^:\r\n]*:([^\r\n]+)", card, re.MULTILINE)
    phones = re.findall(r"^(?:item[0-9]+\.)?TEL[^:\r\n]*:([^\r\n]+)", card, re.MULTILINE)
    return {
        "name": name[1].strip()[:255] if name else "",
        "phones": [phone.strip()[:64] for phone in phones[:5]],
    }


def _circumstances(fields: Mapping[str, Any]) -> dict[str, Any]:
    quoted = parse_id(
        find_value(fields, "quotedMsgId", "quotedMessageId", "quotedStanzaID", "replyTo")
    )
    forwarded = parse_flag(fields.get("isForwarded"))
    return ({"reply_to": quoted} if quoted else {}) | ({"forwarded": True} if forwarded else {})


def _stand_in(content: ContentType, word: str, metadata: Mapping[str, Any]) -> str:
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

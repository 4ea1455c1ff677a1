"""Read the content of a message: its text, its file's name and type, a location, contacts."""

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
    is_file_data,
    resolve_mime_type,
)
from shared.webhooks.classify import ClassifiedEvent
from shared.webhooks.fields import find_object, find_value, parse_flag, parse_id, parse_text
from shared.webhooks.payload import Payload
from shared.webhooks.vcards import is_vcard, parse_vcards
from shared.webhooks.vocabulary import CONTENT_TYPES, normalize_word

TEXT_FIELDS = ("text", "body", "message", "content")
"""Fields of a message's text. Beside a file, or in its place, they may hold the file itself."""
_TYPE_FIELDS = ("messageType", "message_type", "mediaType", "kind")
_QUOTED_FIELDS = ("quotedMsgId", "quotedMessageId", "quotedStanzaID", "replyTo")
_PLACEHOLDER = re.compile(
    r"\s*\[(image|video|audio|document|file|sticker|voice|media|ptt)\]\s*", re.IGNORECASE
)
"""The platform puts it before the caption of a file."""
_FAMILIES: dict[str, ContentType] = {"image": "image", "video": "video", "audio": "audio"}
_MAX_TYPE = 64
_MAX_PLACE_TEXT = 1024


@dataclass(frozen=True)
class MessageContent:
    """The content of a message. `text` is the caption beside a file, and empty only there."""

    content: ContentType
    text: str
    file_name: str | None = None
    file_type: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def read_content(event: ClassifiedEvent) -> MessageContent:
    """Return the content of a message."""
    fields = event.payload.fields
    attachment = event.attachment
    word = _find_type_word(event.payload)
    content = _classify_content(word, attachment)
    metadata: dict[str, Any] = {"kind": word[:_MAX_TYPE]} if content == "other" else {}
    location = _find_location(fields)
    if location and content in ("location", "other", "text"):
        content = "location"
        metadata["location"] = location
    if content in ("contact", "other") and (contacts := parse_vcards(fields)):
        content = "contact"
        metadata["contacts"] = contacts
    metadata |= _read_context(fields)
    text = _read_text(fields, content, attachment)
    if len(text) > MAX_TEXT_CHARS:
        text = text[:MAX_TEXT_CHARS]
        metadata["truncated"] = True
    if not text and not attachment:
        text = _describe_content(content, word, metadata)
    return MessageContent(
        content=content,
        text=text,
        file_name=build_file_name(attachment, content) if attachment else None,
        file_type=resolve_mime_type(attachment, content) if attachment else None,
        metadata=metadata,
    )


def read_edited_text(fields: Mapping[str, Any]) -> str:
    """Return the new text of an edit."""
    text = _parse_nested_text(find_value(fields, "newText", "newBody", "newMessage"))
    return (text or _read_text(fields, "text", None))[:MAX_TEXT_CHARS]


def _find_type_word(payload: Payload) -> str:
    """Return the word for the content: the inner type of an envelope, or a flat message's type."""
    inner = parse_text(find_value(payload.fields, *_TYPE_FIELDS))
    own = payload.type if payload.is_flat else parse_text(payload.fields.get("type"))
    for word in (own, inner, payload.type):
        if word and normalize_word(word) in CONTENT_TYPES:
            return normalize_word(word)
    return normalize_word(own or payload.type)


def _classify_content(word: str, attachment: Attachment | None) -> ContentType:
    content = CONTENT_TYPES.get(word)
    if attachment and (content in (None, "text") or word == "file"):
        family = resolve_mime_type(attachment, "").partition("/")[0]
        return _FAMILIES.get(family, "document")
    if content:
        return content
    return "text" if "message" in word or word == "unknown" else "other"


def _read_text(
    fields: Mapping[str, Any], content: ContentType, attachment: Attachment | None
) -> str:
    """Return the text or the caption, without the placeholder of an attached file.

    A text message keeps a text that looks like a file. The text of a location is a picture of the
    map, that of a contact the vCard: both are left out.
    """
    texts = (_parse_nested_text(fields.get(name)) for name in TEXT_FIELDS)
    accepted = (
        found for found in texts if found and (content == "text" or not is_file_data(found))
    )
    text = next(accepted, "")
    if content in ("location", "contact") and (is_vcard(text) or not fields.get("text")):
        text = ""
    if attachment and _PLACEHOLDER.match(text):
        text = _PLACEHOLDER.sub("", text, count=1)
    caption = parse_text(find_value(fields, "caption")) or (attachment and attachment.caption)
    return text or caption or ""


def _parse_nested_text(value: Any) -> str | None:
    if isinstance(value, dict):
        value = find_value(value, "body", "text", "caption")
    return parse_text(value)


def _find_location(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    location = find_object(fields, "location") or fields
    lat = _parse_degrees(find_value(location, "lat", "latitude", "degreesLatitude"), 90)
    lng = _parse_degrees(find_value(location, "lng", "lon", "longitude", "degreesLongitude"), 180)
    if lat is None or lng is None:
        return None
    texts = {
        "name": parse_text(find_value(location, "name", "loc", "description")),
        "address": parse_text(location.get("address")),
    }
    named = {name: text[:_MAX_PLACE_TEXT] for name, text in texts.items() if text}
    return {"lat": lat, "lng": lng, **named}


def _parse_degrees(value: Any, limit: float) -> float | None:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= limit else None


def _read_context(fields: Mapping[str, Any]) -> dict[str, Any]:
    context: dict[str, Any] = {}
    if quoted := parse_id(find_value(fields, *_QUOTED_FIELDS)):
        context["reply_to"] = quoted
    if parse_flag(fields.get("isForwarded")):
        context["forwarded"] = True
    return context


def _describe_content(content: ContentType, word: str, metadata: Mapping[str, Any]) -> str:
    """Return the text that is shown for a message without text and file. Never empty."""
    if location := metadata.get("location"):
        coordinates = f"{location['lat']}, {location['lng']}"
        return str(location.get("name") or location.get("address") or coordinates)
    if contacts := metadata.get("contacts"):
        lines = (", ".join(filter(None, (c["name"], *c["phones"]))) for c in contacts)
        return "\n".join(line or "[Contact]" for line in lines)
    if content == "text":
        return "[Empty message]"
    label = word.replace(".", " ") if content == "other" else content
    return f"[{label[:_MAX_TYPE].capitalize()}]"

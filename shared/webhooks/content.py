"""Read the content of a message: its text, its file's name and type, and what it holds instead.

docs/arriving.md shows each content with its text for people and its structure in the metadata.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.events import MAX_TEXT_CHARS
from shared.outcomes import ContentType
from shared.webhooks import answers, calls, commerce
from shared.webhooks.answers import Description
from shared.webhooks.attachments import (
    Attachment,
    build_file_name,
    is_file_data,
    resolve_mime_type,
)
from shared.webhooks.classify import ClassifiedEvent
from shared.webhooks.fields import find_object, find_value, parse_flag, parse_text
from shared.webhooks.message_ids import read_quoted_id
from shared.webhooks.payload import Payload
from shared.webhooks.vcards import is_vcard, parse_vcards
from shared.webhooks.vocabulary import CONTENT_TYPES, EVENT_TYPES, normalize_word

TEXT_FIELDS = ("text", "body", "message", "content")
"""Fields of a message's text. Beside a file, or in its place, they may hold the file itself."""
_DEEPER_TEXT_FIELDS = (
    *("title", "eventName", "contentText", "hydratedContentText", "description"),
    *("eventDescription", "groupName"),
)
_DEEPER_OBJECTS = ("list", "hydratedTemplate", "eventMessage", "event", "interactive", "header")
_TYPE_FIELDS = ("messageType", "message_type", "mediaType", "kind")
_PLACEHOLDER = re.compile(
    r"\s*\[(image|video|audio|document|file|sticker|voice|media|ptt)\]\s*", re.IGNORECASE
)
"""The platform puts it before the caption of a file."""
_FAMILIES: dict[str, ContentType] = {"image": "image", "video": "video", "audio": "audio"}
_WAITING_WORDS = frozenset({"ciphertext", "message.waiting"})
WAITING = "[Waiting for this message]"
"""The text of a message that WhatsApp could not decrypt yet, as the phone shows it."""
_GENERAL_WORDS = frozenset({"chat", "text", "conversation", "extendedtext", "unknown", "message"})
"""Words for the content that say little: a structure in the fields says more."""
_READERS: dict[str, Callable[[Mapping[str, Any]], Description | None]] = {
    **dict.fromkeys(("poll", "poll.creation", "pollcreation"), answers.describe_poll),
    "order": commerce.describe_order,
    "product": commerce.describe_product,
    "payment": commerce.describe_payment,
}
"""What reads the structure of each content. In the rest, an answer is looked for."""
_VIEW_ONCE_WORDS = frozenset({"view.once", "viewonce", "unavailable"})
_MAX_TYPE = 64
_MAX_PLACE_TEXT = 1024
_MAX_NESTED = 3


@dataclass(frozen=True)
class MessageContent:
    """The content of a message. `text` is the caption beside a file, and empty only there."""

    content: ContentType
    text: str
    file_name: str | None = None
    file_type: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    is_stand_in: bool = False
    """Whether the text is a label in place of words or of a file that may still come."""


def read_content(event: ClassifiedEvent) -> MessageContent:
    """Return the content of a message."""
    fields = event.payload.fields
    attachment = event.attachment
    word = _find_type_word(event.payload)
    content = _classify_content(word, attachment, fields)
    metadata: dict[str, Any] = {"kind": _name_kind(word)} if content == "other" else {}
    location = _find_location(fields)
    if location and content in ("location", "other", "text"):
        content = "location"
        metadata["location"] = location
    if content in ("contact", "other") and (contacts := parse_vcards(fields)):
        content = "contact"
        metadata = {"contacts": contacts}
    described, is_final = _describe_structure(event.payload, word, content)
    metadata |= described.metadata | _read_context(fields)
    text = _join_texts(described.text, _read_text(fields, content, attachment))
    if len(text) > MAX_TEXT_CHARS:
        text = text[:MAX_TEXT_CHARS]
        metadata["truncated"] = True
    has_text = bool(text) and is_final
    if not text and not attachment:
        label = _describe_values(metadata)
        has_text = label is not None
        text = label or _label_content(content, word, metadata)
    return MessageContent(
        content=content,
        text=text,
        file_name=build_file_name(attachment, content) if attachment else None,
        file_type=resolve_mime_type(attachment, content) if attachment else None,
        metadata=metadata,
        is_stand_in=not has_text and not attachment,
    )


def read_edited_text(fields: Mapping[str, Any]) -> str:
    """Return the new text of an edit."""
    nested = find_value(find_object(fields, "edit"), "message", "text", "body")
    edited = find_value(fields, "newText", "newBody", "newMessage", "editedText", "newContent")
    text = _parse_nested_text(edited) or _parse_nested_text(nested)
    for name in ("msg", "after", "editedMessage", "edited"):  # WPPConnect, WAHA
        if not text and isinstance(message := fields.get(name), dict):
            text = _read_text(message, "text", None)
    return (text or _read_text(fields, "text", None))[:MAX_TEXT_CHARS]


def _find_type_word(payload: Payload) -> str:
    """Return the word for the content: the inner type of an envelope, or a flat message's type.

    A word for a type of content is better than a word for an event, and that than any other word.
    """
    inner = parse_text(find_value(payload.fields, *_TYPE_FIELDS))
    own = payload.type if payload.is_flat else parse_text(payload.fields.get("type"))
    words = [normalize_word(word) for word in (own, inner, payload.type) if word]
    for word in words:
        if word in CONTENT_TYPES and word not in _GENERAL_WORDS:
            return word
    for word in words:
        if word in EVENT_TYPES and word not in _GENERAL_WORDS and not _is_envelope_word(word):
            return word
    known = (word for word in words if word in CONTENT_TYPES)
    return next(known, normalize_word(own or payload.type))


def _is_envelope_word(word: str) -> bool:
    """Return whether a type says how a message came, and not what it holds."""
    is_about_messages = word.startswith(("message", "on", "send.", "incoming.", "unread"))
    return is_about_messages and word not in _WAITING_WORDS and word not in answers.VOTE_WORDS


def _name_kind(word: str) -> str:
    return "ciphertext" if word in _WAITING_WORDS else word[:_MAX_TYPE]


def _describe_structure(
    payload: Payload, word: str, content: ContentType
) -> tuple[Description, bool]:
    """Return what a message holds in place of a text, and whether that is final."""
    fields = payload.fields
    if word in _WAITING_WORDS:
        return Description("", {}), False
    if answers.is_vote((word, *payload.types)):
        return answers.describe_vote(fields), True
    if word in calls.CALL_WORDS:
        return calls.describe_call(fields, (word, *payload.types))
    found: Description | None = None
    if "pollName" in fields:
        found = answers.describe_poll(fields)
    elif word in _READERS or content in ("other", "text"):
        found = _READERS.get(word, answers.describe_answer)(fields)
    return found or Description("", {}), True


def _join_texts(described: str, written: str) -> str:
    """Return the description of what a message holds, with the words beside it."""
    if not described or not written or written in described.split("\n"):
        return described or written
    return written if described in written.split("\n") else f"{described}\n{written}"


def _classify_content(
    word: str, attachment: Attachment | None, fields: Mapping[str, Any]
) -> ContentType:
    content = CONTENT_TYPES.get(word)
    if attachment and (content in (None, "text") or word == "file"):
        family = resolve_mime_type(attachment, "").partition("/")[0]
        return _FAMILIES.get(family, "document")
    if content == "audio" and (parse_flag(fields.get("ptt")) or parse_flag(fields.get("voice"))):
        return "voice"
    if content:
        return content
    is_text = "message" in word or word == "unknown"
    return "text" if is_text and word not in _WAITING_WORDS else "other"


def _read_text(
    fields: Mapping[str, Any], content: ContentType, attachment: Attachment | None
) -> str:
    """Return the text or the caption, without the placeholder of a file.

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
    if (attachment or content != "text") and _PLACEHOLDER.match(text):
        text = _PLACEHOLDER.sub("", text, count=1)
    caption = parse_text(find_value(fields, "caption")) or (attachment and attachment.caption)
    return text or caption or (_read_deeper_text(fields) if content == "other" else "")


def _read_deeper_text(fields: Mapping[str, Any]) -> str:
    """Return the text of a template, a list or buttons, which have fields of their own for it."""
    for source in (fields, *(find_object(fields, name) for name in _DEEPER_OBJECTS)):
        texts = (_parse_nested_text(source.get(name)) for name in _DEEPER_TEXT_FIELDS)
        if text := "\n".join(dict.fromkeys(filter(None, texts))):
            return text
    return ""


def _parse_nested_text(value: Any) -> str | None:
    for _ in range(_MAX_NESTED):
        if not isinstance(value, dict):
            break
        value = find_value(value, "body", "text", "caption", "conversation")
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
    """Return what stands beside a message: its quote, the ad or product it asks about, flags."""
    context: dict[str, Any] = {}
    if quoted := read_quoted_id(fields):
        context["reply_to"] = quoted
    nested = find_object(fields, "context")
    flags = (fields.get("isForwarded"), nested.get("forwarded"), nested.get("frequently_forwarded"))
    if any(map(parse_flag, flags)):
        context["forwarded"] = True
    if parse_flag(find_value(fields, "isViewOnce", "viewOnce")):
        context["view_once"] = True
    if referral := commerce.read_referral(fields):
        context["referral"] = referral
    if product := commerce.read_referred_product(fields):
        context["referred_product"] = product
    return context


def _describe_values(metadata: Mapping[str, Any]) -> str | None:
    """Return the text that is shown for a message by its place, contacts or ad, or None."""
    if location := metadata.get("location"):
        coordinates = f"{location['lat']}, {location['lng']}"
        return str(location.get("name") or location.get("address") or coordinates)
    if contacts := metadata.get("contacts"):
        lines = (", ".join(filter(None, (c["name"], *c["phones"]))) for c in contacts)
        return "\n".join(line or "[Contact]" for line in lines)
    return None


def _label_content(content: ContentType, word: str, metadata: Mapping[str, Any]) -> str:
    """Return the label of a message without a text and a file. Never empty."""
    if word in _WAITING_WORDS:
        return WAITING
    if metadata.get("view_once") or word in _VIEW_ONCE_WORDS:
        return f"[View once {content}]" if content not in ("other", "text") else "[View once]"
    if content == "text":
        return "[Empty message]"
    label = word.replace(".", " ") if content == "other" else content
    return f"[{label[:_MAX_TYPE].capitalize()}]"

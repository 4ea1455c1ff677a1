"""Builds the platform's request for a message."""

import re
import unicodedata
from typing import Any
from urllib.parse import unquote, urlsplit

from shared.events import SendEvent, SentMedia
from shared.file_types import EXTENSIONS
from shared.outcomes import Substitute
from shared.platform import endpoints
from shared.platform.endpoints import Endpoint

FILENAMES = {
    "video": "video.mp4",
    "audio": "audio.mp3",
    "voice": "voice.ogg",
    "document": "document",
}
MAX_NAME_BYTES = 200
"""UTF-8. File systems allow 255, and phones add a number to a name that they have already."""
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}$")
_PATH_SEPARATORS = re.compile(r"[/\\\u2044\u2215]")
_RESERVED = re.compile(r'[<>:"|?*]')
"""Characters that Windows forbids in a name."""
_JOINERS = "\u200c\u200d"
"""Formatting characters that Persian, Indian languages and emoji are written with."""


def build_message(account: str, event: SendEvent) -> tuple[Endpoint, dict[str, Any]]:
    """Return the endpoint and the body of a message; of a file, without `build_caption`.

    Video, audio, voice and documents are sent as files. No endpoint for voice notes is known: the
    recipient gets a file to play, recognizable by its name. Nor is one for contacts, or for quotes:
    they are part of the text. Only the body of a location names its account.
    """
    if event.location:
        location = event.location.model_dump(exclude_none=True)
        body = {"type": "location", "account": account, "to": event.to, **location}
        return endpoints.LOCATION, body
    if event.media is None:
        return build_text(event, compose_text(event))
    url = event.media.url
    if event.media.type == "image":
        caption = compose_text(event)
        return endpoints.IMAGE, {"type": "image", "to": event.to, "url": url, "caption": caption}
    filename = choose_filename(event.media)
    return endpoints.FILE, {"type": "file", "to": event.to, "url": url, "filename": filename}


def build_text(event: SendEvent, text: str) -> tuple[Endpoint, dict[str, Any]]:
    """Return the endpoint and the body of a text to the recipient of a message."""
    return endpoints.TEXT, {"type": "text", "to": event.to, "text": text}


def build_caption(event: SendEvent) -> str:
    """Return the text that follows the file of a message: the platform drops a file's caption."""
    if event.media is None or event.media.type == "image":
        return ""
    return compose_text(event)


def compose_text(event: SendEvent) -> str:
    """Return the text as the recipient reads it: the quoted lines, then the text or the contact."""
    text = event.text
    if event.contact:
        text = "\n".join((f"👤 {event.contact.name}", *event.contact.phones))
    if event.reply is None:
        return text
    quoted = "\n".join(f"> {line}" for line in event.reply.quote.splitlines())
    return "\n".join(filter(None, (quoted, text)))


def compose_map_link(event: SendEvent) -> str:
    """Return a location as a text: its name, its address, and a link that opens a map."""
    if (place := event.location) is None:
        return ""
    link = f"https://maps.google.com/?q={place.lat},{place.lng}"
    return "\n".join(filter(None, (f"📍 {place.name}" if place.name else "", place.address, link)))


def list_substitutes(event: SendEvent) -> list[Substitute]:
    """Return what stands for a call that the platform lacks; of a location, that shows later."""
    found: list[Substitute] = []
    if build_caption(event):
        found.append("caption_as_text")
    if event.media and event.media.type == "voice":
        found.append("voice_as_file")
    if event.contact:
        found.append("contact_as_text")
    if event.reply:
        found.append("quoted_text")
    return found


def choose_filename(media: SentMedia) -> str:
    """Return the name that the recipient sees: the given name, the URL's, or a default.

    A name that is not given gets the extension of the file's MIME type, if it has none.
    """
    if given := clean_filename(media.filename or ""):
        return given
    extension = EXTENSIONS.get((media.mime or "").partition(";")[0].strip().lower())
    name = clean_filename(unquote(urlsplit(media.url).path))
    if not name:
        name = FILENAMES[media.type]
        return f"{_EXTENSION.sub('', name)}.{extension}" if extension else name
    return f"{name}.{extension}" if extension and not _EXTENSION.search(name) else name


def clean_filename(name: str) -> str:
    """Return a name that is safe to save a file under, or "" if nothing of it is left.

    It has no path, no control or invisible formatting characters (which can reverse the order of
    the letters), no leading dots, and at most `MAX_NAME_BYTES` bytes with its extension.
    """
    last = _PATH_SEPARATORS.split(name)[-1]
    visible = "".join(" " if char.isspace() else char for char in last if _is_visible(char))
    words = " ".join(_RESERVED.sub("_", visible).split()).lstrip(". ").rstrip(". ")
    found = _EXTENSION.search(words)
    extension = found[0] if found else ""
    stem = words[: len(words) - len(extension)].encode()[: MAX_NAME_BYTES - len(extension)]
    return stem.decode(errors="ignore").rstrip(". ") + extension


def _is_visible(char: str) -> bool:
    if char.isspace() or char in _JOINERS:
        return True
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs"}

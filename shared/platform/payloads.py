"""Builds the platform's request for a message."""

from pathlib import PurePath
from typing import Any
from urllib.parse import unquote

from shared.events import Media, SendEvent
from shared.platform import endpoints
from shared.platform.endpoints import Endpoint

FILENAMES = {
    "video": "video.mp4",
    "audio": "audio.mp3",
    "voice": "voice.ogg",
    "document": "document",
}


def build_message(account: str, event: SendEvent) -> tuple[Endpoint, dict[str, Any]]:
    """Return the endpoint and the body of a message.

    Video, audio, voice and documents are sent as files, with the text as caption. No endpoint for
    voice notes is known: the recipient gets a file to play, recognizable by its name. Only the
    body of a location names its account.
    """
    if event.location:
        location = event.location.model_dump(exclude_none=True)
        body = {"type": "location", "account": account, "to": event.to, **location}
        return endpoints.LOCATION, body
    if event.media is None:
        return endpoints.TEXT, {"type": "text", "to": event.to, "text": event.text}
    url = str(event.media.url)
    if event.media.type == "image":
        return endpoints.IMAGE, {"type": "image", "to": event.to, "url": url, "caption": event.text}
    caption = {"caption": event.text} if event.text else {}
    filename = choose_filename(event.media)
    body = {"type": "file", "to": event.to, "url": url, "filename": filename, **caption}
    return endpoints.FILE, body


def choose_filename(media: Media) -> str:
    """Return the name that the recipient sees: the given name, the URL's, or a default."""
    return media.filename or PurePath(unquote(media.url.path or "")).name or FILENAMES[media.type]

"""What a message looks like to the platform."""

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
    """Return where a message goes, and its body.

    Video, audio, voice and documents all go as files, whose text goes along as a caption. No endpoint for a voice note
    is known: it reaches the recipient as a file to play, and only its name says what it is. A place names its account,
    which no other body does any more.
    """
    if event.location:
        place = event.location.model_dump(exclude_none=True)
        return endpoints.LOCATION, {"type": "location", "account": account, "to": event.to, **place}
    if event.media is None:
        return endpoints.TEXT, {"type": "text", "to": event.to, "text": event.text}
    url = str(event.media.url)
    if event.media.type == "image":
        return endpoints.IMAGE, {"type": "image", "to": event.to, "url": url, "caption": event.text}
    caption = {"caption": event.text} if event.text else {}
    return endpoints.FILE, {
        "type": "file",
        "to": event.to,
        "url": url,
        "filename": choose_filename(event.media),
        **caption,
    }


def choose_filename(media: Media) -> str:
    """Return the name under which the recipient sees a file: the given one, the URL's, or one of its kind."""
    return media.filename or PurePath(unquote(media.url.path or "")).name or FILENAMES[media.type]

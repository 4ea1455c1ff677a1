"""What kind of file a link leads to, by its extension."""

from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from shared.platform.payloads import EXTENSIONS

FileKind = Literal["image", "video", "audio", "document"]

KINDS: dict[str, FileKind] = {
    **dict.fromkeys(("jpg", "jpeg", "png", "gif", "webp"), "image"),
    **dict.fromkeys(("mp4", "avi", "mov", "wmv", "flv"), "video"),
    **dict.fromkeys(("mp3", "wav", "ogg", "m4a", "opus"), "audio"),
}
MIME_TYPES = {
    "flv": "video/x-flv",
    "jpeg": "image/jpeg",
    "opus": "audio/ogg",
    "wmv": "video/x-ms-wmv",
} | {extension: mime for mime, extension in reversed(EXTENSIONS.items())}


def find_kind(url: str, name: str | None = None) -> tuple[FileKind, str | None]:
    """Return the kind and the MIME type of a file by its link, else by its name."""
    for text in (unquote(_path(url)), name or ""):
        extension = PurePosixPath(text).suffix.removeprefix(".").lower()
        if extension in KINDS or extension in MIME_TYPES:
            return KINDS.get(extension, "document"), MIME_TYPES.get(extension)
    return "document", None


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""

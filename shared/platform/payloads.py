"""Builds the platform's request for a message."""

import re
import unicodedata
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
EXTENSIONS = {
    "application/gzip": "gz",
    "application/json": "json",
    "application/msword": "doc",
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "application/vnd.android.package-archive": "apk",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.rar": "rar",
    "application/x-7z-compressed": "7z",
    "application/x-rar-compressed": "rar",
    "application/xml": "xml",
    "application/zip": "zip",
    "audio/aac": "aac",
    "audio/amr": "amr",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/opus": "ogg",
    "audio/wav": "wav",
    "audio/webm": "webm",
    "audio/x-m4a": "m4a",
    "audio/x-wav": "wav",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif",
    "image/webp": "webp",
    "text/calendar": "ics",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "txt",
    "text/vcard": "vcf",
    "text/x-vcard": "vcf",
    "text/xml": "xml",
    "video/3gpp": "3gp",
    "video/mp4": "mp4",
    "video/mpeg": "mpg",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/x-msvideo": "avi",
}
"""Our own table: Python's `mimetypes` differs by version and by machine."""
MAX_NAME_BYTES = 200
"""UTF-8. File systems allow 255, and phones add a number to a name that they have already."""
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}$")
_PATH_SEPARATORS = re.compile(r"[/\\\u2044\u2215]")
_RESERVED = re.compile(r'[<>:"|?*]')
"""Characters that Windows forbids in a name."""
_JOINERS = "\u200c\u200d"
"""Formatting characters that Persian, Indian languages and emoji are written with."""


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
    """Return the name that the recipient sees: the given name, the URL's, or a default.

    A name that is not given gets the extension of the file's MIME type, if it has none.
    """
    if given := clean_filename(media.filename or ""):
        return given
    extension = EXTENSIONS.get((media.mime or "").partition(";")[0].strip().lower())
    name = clean_filename(unquote(media.url.path or ""))
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

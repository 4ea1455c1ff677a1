"""Find the file of a message: in `media`, or at the root as older versions of the platform do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.webhooks.fields import find_value, parse_text

MAX_NAME = 120
"""Characters. Storage keys and every file system accept it."""

_EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
    "video/mp4": "mp4",
    "video/3gpp": "3gp",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/aac": "aac",
    "audio/wav": "wav",
    "audio/amr": "amr",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "application/was": "was",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "text/plain": "txt",
    "text/csv": "csv",
    "text/vcard": "vcf",
}
_MIME_TYPES = {extension: mime for mime, extension in _EXTENSIONS.items()} | {"jpeg": "image/jpeg"}
_DEFAULT_TYPES = {
    "image": "image/jpeg",
    "video": "video/mp4",
    "audio": "audio/ogg",
    "voice": "audio/ogg",
    "sticker": "image/webp",
}
"""What WhatsApp uses for each type of content, where neither a type nor a name is given."""
_DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*){0,4});base64,", re.IGNORECASE)
_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,90}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{200}")
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffd]")
_UNSAFE = re.compile(r'[<>:"|?*%#{}^~\[\]`&$+=@,;]+|\s+')
_EXTENSION = re.compile(r"\S\.([A-Za-z0-9]{1,8})$")


@dataclass(frozen=True)
class Attachment:
    """Where a file's bytes are, and what the platform calls them."""

    base64: str | None = None
    """Without the prefix of a data URL."""
    url: str | None = None
    mime: str | None = None
    """Without parameters, lower case: audio/ogg for "audio/ogg; codecs=opus"."""
    name: str | None = None
    caption: str | None = None


def find_attachment(fields: Mapping[str, Any]) -> Attachment | None:
    """Return the file of a message (`Payload.fields`), or None."""
    media = fields.get("media")
    if isinstance(media, list):
        media = next(iter(media), None)
    if isinstance(media, str):
        media = {"url": media} if re.match("https?://", media) else {"base64": media}
    if not isinstance(media, dict) or not media:
        media = _collect_root_fields(fields)
    return _parse_media(media) if media else None


def is_file_data(value: Any) -> bool:
    """Return whether a text looks like a file: a data URL, or long base64.

    A text that a person wrote may look so too: only texts beside a file are in question.
    """
    if not isinstance(value, str):
        return False
    is_data_url = value[:5] == "data:" and _DATA_URL.match(value)
    return bool(is_data_url or _BASE64.match(value))


def resolve_mime_type(attachment: Attachment, content: str) -> str:
    """Return the declared MIME type, or the name's, or the default of `content`."""
    if attachment.mime:
        return attachment.mime
    path = (attachment.url or "").partition("?")[0]
    by_name = _MIME_TYPES.get(_find_extension(attachment.name or ""))
    by_path = _MIME_TYPES.get(_find_extension(path))
    return by_name or by_path or _DEFAULT_TYPES.get(content, "application/octet-stream")


def build_file_name(attachment: Attachment, content: str) -> str:
    """Return a name that is safe in file systems and storage keys, with a known extension."""
    name = re.split(r"[/\\]", attachment.name or "")[-1]
    name = _UNSAFE.sub("_", _INVISIBLE.sub("", name)).strip("._ ")
    stem, extension = name.rsplit(".", 1) if _find_extension(name) else (name, "")
    if not stem or stem.lower() == "file":
        stem = content if content != "other" else "file"
    extension = extension or _EXTENSIONS.get(resolve_mime_type(attachment, content), "")
    stem = stem[: MAX_NAME - len(extension) - 1]
    return f"{stem}.{extension}" if extension else stem


def _collect_root_fields(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the media fields of the root. `body` is the file where it cannot be a text."""
    media = {
        "base64": find_value(fields, "base64", "mediaBase64"),
        "url": find_value(fields, "mediaUrl", "media_url", "fileUrl", "file_url"),
        "mimetype": find_value(fields, "mimetype", "mimeType", "mime"),
        "filename": find_value(fields, "filename", "fileName", "file_name"),
    }
    if not media["base64"] and media["mimetype"] and is_file_data(fields.get("body")):
        media["base64"] = fields["body"]
    return media if media["base64"] or media["url"] or media["mimetype"] else None


def _parse_media(media: Mapping[str, Any]) -> Attachment:
    data = find_value(media, "base64", "data")
    data = data if isinstance(data, str) else None
    url = parse_text(find_value(media, "url", "link", "mediaUrl"))
    if url and url[:5].lower() == "data:":
        data = data or url
        url = None
    prefix = _DATA_URL.match(data) if data else None
    declared = _parse_mime(find_value(media, "mimetype", "mime", "mimeType", "contentType"))
    return Attachment(
        base64=data[prefix.end() :] if data and prefix else data,
        url=url,
        mime=declared or (_parse_mime(prefix[1]) if prefix else None),
        name=parse_text(find_value(media, "filename", "fileName", "file_name", "name")),
        caption=parse_text(find_value(media, "caption")),
    )


def _parse_mime(value: Any) -> str | None:
    mime = (parse_text(value) or "").partition(";")[0].strip().lower()
    return mime if _MIME.fullmatch(mime) else None


def _find_extension(name: str) -> str:
    match = _EXTENSION.search(name)
    return match[1].lower() if match else ""

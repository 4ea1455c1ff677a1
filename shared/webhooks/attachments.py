"""The file of a message as the platform posts it: in `media`, or at the root as older versions do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.webhooks.payload import find_value, parse_text

MAX_NAME = 120
"""Characters. Storage keys and every file system take it."""

_EXTENSIONS = {
    "image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp",
    "video/mp4": "mp4", "video/3gpp": "3gp", "video/quicktime": "mov", "video/webm": "webm",
    "audio/ogg": "ogg", "audio/opus": "opus", "audio/mpeg": "mp3", "audio/mp4": "m4a", "audio/aac": "aac",
    "audio/wav": "wav", "audio/amr": "amr",
    "application/pdf": "pdf", "application/zip": "zip", "application/msword": "doc", "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "text/plain": "txt", "text/csv": "csv", "text/vcard": "vcf",
}  # fmt: skip
_TYPES = {extension: mime for mime, extension in _EXTENSIONS.items()} | {"jpeg": "image/jpeg"}
_USUAL = {
    "image": "image/jpeg", "video": "video/mp4", "audio": "audio/ogg", "voice": "audio/ogg", "sticker": "image/webp",
}  # fmt: skip
_DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*){0,4});base64,", re.IGNORECASE)
_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,90}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{200}")


@dataclass(frozen=True)
class Attachment:
    """Where a file's bytes are, and what the platform calls them. `base64` comes without its data-URL prefix."""

    base64: str | None = None
    url: str | None = None
    mime: str | None = None
    """Without parameters, lower case: audio/ogg for "audio/ogg; codecs=opus"."""
    name: str | None = None
    caption: str | None = None


def find_attachment(fields: Mapping[str, Any]) -> Attachment | None:
    """Return the file of a message (`shapes.read(payload).fields`), or None where there is none."""
    media = fields.get("media")
    if isinstance(media, list):
        media = next(iter(media), None)
    if isinstance(media, str):
        media = {"url": media} if re.match("https?://", media) else {"base64": media}
    if not isinstance(media, dict) or not media:
        media = _at_root(fields)
    return _read(media) if media else None


def is_file_data(value: Any) -> bool:
    """Return whether a text looks like a file: a data URL, or long base64.

    So may what somebody has written: to be asked only where there may be a file.
    """
    return isinstance(value, str) and bool(
        _BASE64.match(value) or (value[:5] == "data:" and _DATA_URL.match(value))
    )


def resolve_mime_type(attachment: Attachment, kind: str) -> str:
    """Return the MIME type: as told, else by the name's extension, else what `kind` usually is."""
    path = (attachment.url or "").partition("?")[0]
    by_name = _TYPES.get(_extension(attachment.name or "")) or _TYPES.get(_extension(path))
    return attachment.mime or by_name or _USUAL.get(kind, "application/octet-stream")


def build_file_name(attachment: Attachment, kind: str) -> str:
    """Return a name that is safe as a file's name and in a storage key, with an extension where one is known."""
    name = re.split(r"[/\\]", attachment.name or "")[-1]
    name = re.sub(
        r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffd]", "", name
    )
    name = re.sub(r'[<>:"|?*%#{}^~\[\]`&$+=@,;]+|\s+', "_", name).strip("._ ")
    stem, extension = name.rsplit(".", 1) if _extension(name) else (name, "")
    if not stem or stem.lower() == "file":
        stem = kind if kind != "other" else "file"
    extension = extension or _EXTENSIONS.get(resolve_mime_type(attachment, kind), "")
    stem = stem[: MAX_NAME - len(extension) - 1]
    return f"{stem}.{extension}" if extension else stem


def _at_root(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the root's media fields; `body` is the file itself where it can't be a text."""
    found = {
        "base64": find_value(fields, "base64", "mediaBase64"),
        "url": find_value(fields, "mediaUrl", "media_url", "fileUrl", "file_url"),
        "mimetype": find_value(fields, "mimetype", "mimeType", "mime"),
        "filename": find_value(fields, "filename", "fileName", "file_name"),
    }
    if not found["base64"] and found["mimetype"] and is_file_data(fields.get("body")):
        found["base64"] = fields["body"]
    return found if found["base64"] or found["url"] or found["mimetype"] else None


def _read(media: Mapping[str, Any]) -> Attachment:
    body, url = (
        find_value(media, "base64", "data"),
        parse_text(find_value(media, "url", "link", "mediaUrl")),
    )
    body = body if isinstance(body, str) else None
    if url and url[:5].lower() == "data:":
        body, url = body or url, None
    prefix = _DATA_URL.match(body) if body else None
    mimes = (
        find_value(media, "mimetype", "mime", "mimeType", "contentType"),
        prefix[1] if prefix else None,
    )
    return Attachment(
        base64=body[prefix.end() :] if body and prefix else body,
        url=url,
        mime=next((mime for mime in map(_mime, mimes) if mime), None),
        name=parse_text(find_value(media, "filename", "fileName", "file_name", "name")),
        caption=parse_text(find_value(media, "caption")),
    )


def _mime(value: Any) -> str | None:
    mime = (parse_text(value) or "").partition(";")[0].strip().lower()
    return mime if _MIME.fullmatch(mime) else None


def _extension(name: str) -> str:
    match = re.search(r"\S\.([A-Za-z0-9]{1,8})$", name)
    return match[1].lower() if match else ""

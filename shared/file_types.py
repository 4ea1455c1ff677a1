"""Kinds and MIME types of files by their names: by the extension of a link, or of a file's name."""

from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

FileKind = Literal["image", "video", "audio", "document"]

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

MIME_TYPES = {
    "flv": "video/x-flv",
    "jpeg": "image/jpeg",
    "opus": "audio/ogg",
    "wmv": "video/x-ms-wmv",
} | {extension: mime for mime, extension in reversed(EXTENSIONS.items())}
KINDS: dict[str, FileKind] = {
    **dict.fromkeys(("jpg", "jpeg", "png", "gif", "webp"), "image"),
    **dict.fromkeys(("mp4", "avi", "mov", "wmv", "flv"), "video"),
    **dict.fromkeys(("mp3", "wav", "ogg", "m4a", "opus"), "audio"),
}


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

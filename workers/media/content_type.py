"""Detect what a file is by its bytes. Its name and its declared type are hints.

The tables are our own: `filetype` (last release in 2022) finds neither most MP4 nor AMR, HEIC or
vCards, and `mimetypes` knows 15 of our 25 types in Python 3.11 (docs/decisions.md).
"""

import re
from collections.abc import Sequence
from typing import IO, NamedTuple, Protocol

from workers.media import hostile, size_limits
from workers.media.errors import FileRefusedError, RefusalReason

HEAD_BYTES = 4096


class FileType(NamedTuple):
    """A MIME type and the extension of its files."""

    mime: str
    extension: str


_JPEG = FileType("image/jpeg", "jpg")
_GIF = FileType("image/gif", "gif")
_TIFF = FileType("image/tiff", "tif")
_MP3 = FileType("audio/mpeg", "mp3")
_AAC = FileType("audio/aac", "aac")
_AVI = FileType("video/x-msvideo", "avi")
_ZIP = FileType("application/zip", "zip")
_HEIC = FileType("image/heic", "heic")
_AVIF = FileType("image/avif", "avif")
_M4A = FileType("audio/mp4", "m4a")
_MP4 = FileType("video/mp4", "mp4")
_VCARD = FileType("text/vcard", "vcf")
_PLAIN = FileType("text/plain", "txt")
_WEBM_AUDIO = FileType("audio/webm", "webm")

_MAGIC: dict[bytes, FileType] = {
    b"\xff\xd8\xff": _JPEG,
    b"\x89PNG\r\n\x1a\n": FileType("image/png", "png"),
    b"GIF87a": _GIF,
    b"GIF89a": _GIF,
    b"BM": FileType("image/bmp", "bmp"),
    b"II*\x00": _TIFF,
    b"MM\x00*": _TIFF,
    b"OggS": FileType("audio/ogg", "ogg"),
    b"ID3": _MP3,
    **{bytes((0xFF, second)): _MP3 for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2)},
    **{bytes((0xFF, second)): _AAC for second in (0xF1, 0xF9)},
    b"#!AMR": FileType("audio/amr", "amr"),
    b"fLaC": FileType("audio/flac", "flac"),
    b"\x1aE\xdf\xa3": FileType("video/webm", "webm"),
    b"%PDF-": FileType("application/pdf", "pdf"),
    b"PK\x03\x04": _ZIP,
    b"PK\x05\x06": _ZIP,
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": FileType("application/x-ole-storage", "ole"),
    b"Rar!\x1a\x07": FileType("application/vnd.rar", "rar"),
    b"7z\xbc\xaf'\x1c": FileType("application/x-7z-compressed", "7z"),
    b"\x1f\x8b": FileType("application/gzip", "gz"),
    b"{\\rtf": FileType("application/rtf", "rtf"),
    b"BEGIN:VCARD": _VCARD,
}
_RIFF = {
    b"WEBP": FileType("image/webp", "webp"),
    b"WAVE": FileType("audio/wav", "wav"),
}
_BRANDS = {
    b"M4A ": _M4A,
    b"M4B ": _M4A,
    b"qt  ": FileType("video/quicktime", "mov"),
    **dict.fromkeys((b"heic", b"heix", b"mif1", b"heif", b"msf1"), _HEIC),
    **dict.fromkeys((b"avif", b"avis"), _AVIF),
}
"""The major brands of MP4's family, in the box `ftyp`."""
_CONTAINERS = ("zip", "ole", "gz")
_OLE_TYPES = {
    "doc": FileType("application/msword", "doc"),
    "xls": FileType("application/vnd.ms-excel", "xls"),
    "ppt": FileType("application/vnd.ms-powerpoint", "ppt"),
}
_OPENXML = "application/vnd.openxmlformats-officedocument"
_OFFICE_FOLDERS = {
    "word/": FileType(f"{_OPENXML}.wordprocessingml.document", "docx"),
    "xl/": FileType(f"{_OPENXML}.spreadsheetml.sheet", "xlsx"),
    "ppt/": FileType(f"{_OPENXML}.presentationml.presentation", "pptx"),
}
_LOTTIE = FileType("application/was", "was")
_LOTTIE_FOLDER = "animation/"
_TEXT_TYPES = {"csv": FileType("text/csv", "csv"), "vcf": _VCARD}
UNKNOWN_TYPE = "application/octet-stream"
"""Browsers offer to save it, and never show it."""

_SYNONYMS = {
    "jpeg": "jpg",
    "opus": "ogg",
    "oga": "ogg",
    "mpga": "mp3",
    "m4v": "mp4",
    "tiff": "tif",
    "mkv": "webm",
}
_CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_FAMILIES = {
    "image": ("image",),
    "sticker": ("image", "video", "application/was", "application/zip", "application/gzip"),
    "video": ("video", "image/gif", "audio/ogg"),
    "audio": ("audio", "video"),
    "voice": ("audio", "video"),
}
"""The MIME types that each type of content may have. Animated stickers are archives: WhatsApp's
(application/was) and Telegram's hold an animation, a sticker pack holds pictures."""


class DeclaredFile(Protocol):
    """What is said of a file: its name, its MIME type, and the kind of its message."""

    @property
    def file_name(self) -> str | None: ...
    @property
    def file_type(self) -> str | None: ...
    @property
    def content(self) -> str: ...


def detect_file_type(file: IO[bytes], message: DeclaredFile) -> FileType:
    """Return what a file is; `message` holds its declared name, type and content.

    Raises:
        FileRefusedError: the file should not be stored.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not head:
        raise FileRefusedError(RefusalReason.EMPTY, "The file is empty")
    hostile.refuse_hostile_content(head)
    extension = _find_extension(message.file_name or "")
    file_type = _match_magic(head, message.file_type or "")
    if file_type is None:
        file_type = _detect_text(head, extension)
    elif file_type.extension in _CONTAINERS:
        file_type = _detect_container(file, file_type, extension)
    if file_type.mime.startswith("image/"):
        size_limits.check_picture(file, file_type.mime)
    families = _FAMILIES.get(message.content)
    if families and not file_type.mime.startswith(families):
        msg = f"The file should be {message.content}, but is {file_type.mime}"
        raise FileRefusedError(RefusalReason.WRONG, msg)
    return file_type


def rename_file(name: str, file_type: FileType) -> str:
    """Return a file's name with the extension of its type."""
    extension = _find_extension(name)
    if _SYNONYMS.get(extension, extension) == file_type.extension:
        return name
    stem = name[: -len(extension) - 1] if extension else name
    return f"{stem}.{file_type.extension}"


def _match_magic(head: bytes, declared: str) -> FileType | None:
    if head[:4] == b"RIFF":
        return _AVI if head[8:11] == b"AVI" else _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _match_brand(head[8:12], declared)
    if head[:2] == b"BM" and head[6:10] != bytes(4):  # reserved bytes of a bitmap: else it is text
        return None
    file_type = next((found for magic, found in _MAGIC.items() if head.startswith(magic)), None)
    is_webm = file_type is not None and file_type.extension == "webm"
    return _WEBM_AUDIO if is_webm and declared.startswith("audio/") else file_type


def _match_brand(brand: bytes, declared: str) -> FileType:
    if brand.startswith(b"3g"):
        return FileType("video/3gpp", "3gp")
    return _BRANDS.get(brand) or (_M4A if declared.startswith("audio/") else _MP4)


def _detect_container(file: IO[bytes], container: FileType, extension: str) -> FileType:
    """Detect office files: zip archives by their members, OLE files by their name."""
    hostile.refuse_active_name(extension)
    members: Sequence[str] = size_limits.check_archive(file) if container is _ZIP else ()
    hostile.refuse_program_archive(members)
    if members and all(name.startswith(_LOTTIE_FOLDER) for name in members):
        return _LOTTIE
    for folder, office in _OFFICE_FOLDERS.items():
        if any(name.startswith(folder) for name in members):
            return office
    return _OLE_TYPES.get(extension) or FileType(container.mime, extension or container.extension)


def _detect_text(head: bytes, extension: str) -> FileType:
    """Return the type of a file without magic bytes: a text, or unknown bytes."""
    if extension != "xml":
        hostile.refuse_active_name(extension)
    if _CONTROL_BYTES.search(head) or hostile.is_markup(head):
        return FileType(UNKNOWN_TYPE, extension or "bin")
    return _TEXT_TYPES.get(extension, _PLAIN)


def _find_extension(name: str) -> str:
    match = re.search(r"\.([A-Za-z0-9]{1,8})$", name)
    return match[1].lower() if match else ""

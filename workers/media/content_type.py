"""What a file is, by its own bytes: what somebody calls it is only a hint.

`judge` refuses what would harm whoever opens it: pages and programs in disguise, pictures and archives that unfold to
far more than they seem, and files that are not what they are said to be.
"""

import re
from typing import IO, NamedTuple

from shared.outcomes import MessageOutcome
from workers.media import size_limits
from workers.media.errors import FileRefusedError, RefusalReason

HEAD_BYTES = 4096


class FileType(NamedTuple):
    mime: str
    extension: str


_MAGIC: tuple[tuple[bytes, FileType], ...] = (
    (b"\xff\xd8\xff", FileType("image/jpeg", "jpg")),
    (b"\x89PNG\r\n\x1a\n", FileType("image/png", "png")),
    (b"GIF87a", FileType("image/gif", "gif")),
    (b"GIF89a", FileType("image/gif", "gif")),
    (b"BM", FileType("image/bmp", "bmp")),
    (b"II*\x00", FileType("image/tiff", "tif")),
    (b"MM\x00*", FileType("image/tiff", "tif")),
    (b"OggS", FileType("audio/ogg", "ogg")),
    (b"ID3", FileType("audio/mpeg", "mp3")),
    *(
        (bytes((0xFF, second)), FileType("audio/mpeg", "mp3"))
        for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2)
    ),
    *((bytes((0xFF, second)), FileType("audio/aac", "aac")) for second in (0xF1, 0xF9)),
    (b"#!AMR", FileType("audio/amr", "amr")),
    (b"fLaC", FileType("audio/flac", "flac")),
    (b"\x1aE\xdf\xa3", FileType("video/webm", "webm")),
    (b"%PDF-", FileType("application/pdf", "pdf")),
    (b"PK\x03\x04", FileType("application/zip", "zip")),
    (b"PK\x05\x06", FileType("application/zip", "zip")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileType("application/x-ole-storage", "ole")),
    (b"Rar!\x1a\x07", FileType("application/vnd.rar", "rar")),
    (b"7z\xbc\xaf'\x1c", FileType("application/x-7z-compressed", "7z")),
    (b"\x1f\x8b", FileType("application/gzip", "gz")),
    (b"{\\rtf", FileType("application/rtf", "rtf")),
    (b"BEGIN:VCARD", FileType("text/vcard", "vcf")),
)
_BRANDS = {
    **dict.fromkeys((b"M4A ", b"M4B "), FileType("audio/mp4", "m4a")),
    **dict.fromkeys((b"qt  ",), FileType("video/quicktime", "mov")),
    **dict.fromkeys((b"heic", b"heix", b"mif1", b"heif", b"msf1"), FileType("image/heic", "heic")),
    **dict.fromkeys((b"avif", b"avis"), FileType("image/avif", "avif")),
}  # fmt: skip
_CONTAINERS = ("zip", "ole", "gz")
_OLD_OFFICE = {
    "doc": FileType("application/msword", "doc"),
    "xls": FileType("application/vnd.ms-excel", "xls"),
    "ppt": FileType("application/vnd.ms-powerpoint", "ppt"),
}
_OFFICE = {
    "word/": FileType(
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"
    ),
    "xl/": FileType("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    "ppt/": FileType(
        "application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"
    ),
}
_TEXT = {
    "csv": FileType("text/csv", "csv"),
    "vcf": FileType("text/vcard", "vcf"),
    "txt": FileType("text/plain", "txt"),
}
UNKNOWN_TYPE = "application/octet-stream"

_PROGRAMS = (b"MZ", b"\x7fELF", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe",
             b"\xca\xfe\xba\xbe", b"dex\n", b"#!", b"L\x00\x00\x00\x01\x14\x02\x00")  # fmt: skip
_PROGRAM_MEMBERS = frozenset({"AndroidManifest.xml", "classes.dex", "META-INF/MANIFEST.MF"})
_SAME = {
    "jpeg": "jpg",
    "opus": "ogg",
    "oga": "ogg",
    "mpga": "mp3",
    "m4v": "mp4",
    "tiff": "tif",
    "mkv": "webm",
}
_ACTIVE_NAMES = (
    " html htm xhtml shtml mht mhtml hta svg svgz xml xsl xslt js mjs vbs vbe wsf wsh jse ps1 psm1 bat cmd com exe scr "
    "pif msi msp dll cpl jar apk app dmg pkg deb rpm sh bash php phtml asp aspx jsp cgi lnk url reg swf "
)
_ACTIVE_TEXT = re.compile(
    rb"<(!doctype\s+html|html|head|body|script|iframe|svg|object|embed|img|\w+:svg)\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!|[a-z])", re.IGNORECASE)
_FAMILIES = {
    "image": ("image",), "sticker": ("image", "video"), "video": ("video", "image/gif", "audio/ogg"),
    "audio": ("audio", "video"), "voice": ("audio", "video"),
}  # fmt: skip


def detect_file_type(file: IO[bytes], message: MessageOutcome) -> FileType:
    """Return what a file is; `message` says what it is said to be.

    Raises:
        UnfitError: it should not be kept.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    hint = _extension(message.file_name or "")
    if not head:
        raise FileRefusedError(RefusalReason.EMPTY, "it has no bytes")
    if head.startswith(_PROGRAMS) and not head.startswith(b"#!AMR"):
        raise FileRefusedError(RefusalReason.HOSTILE, "it is a program")
    if _is_active(head):
        raise FileRefusedError(
            RefusalReason.HOSTILE, "it is a page or a drawing that may hold scripts"
        )
    kind = _sniffed(head, message.file_type or "")
    kind = _refined(file, kind, hint) if kind else _unnamed(head, hint)
    if kind.mime.startswith("image/"):
        size_limits.check_picture(file, kind.mime)
    families = _FAMILIES.get(message.content)
    if families and not kind.mime.startswith(families):
        raise FileRefusedError(
            RefusalReason.WRONG, f"it is said to be {message.content}, and is {kind.mime}"
        )
    return kind


def rename_file(name: str, kind: FileType) -> str:
    """Return a file's name with the extension that its kind has."""
    extension = _extension(name)
    if _SAME.get(extension, extension) == kind.extension:
        return name
    stem = name[: -len(extension) - 1] if extension else name
    return f"{stem}.{kind.extension}"


def _sniffed(head: bytes, told: str) -> FileType | None:
    if head[:4] == b"RIFF":
        riff = {b"WEBP": FileType("image/webp", "webp"), b"WAVE": FileType("audio/wav", "wav")}
        return riff.get(
            head[8:12], FileType("video/x-msvideo", "avi") if head[8:11] == b"AVI" else None
        )
    if head[4:8] == b"ftyp":
        return _of_brand(head[8:12], told)
    if head[:2] == b"BM" and head[6:10] != b"\x00\x00\x00\x00":
        return None
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    if kind and kind.extension == "webm" and told.startswith("audio/"):
        return FileType("audio/webm", "webm")
    return kind


def _of_brand(brand: bytes, told: str) -> FileType:
    if found := _BRANDS.get(brand):
        return found
    if brand.startswith(b"3g"):
        return FileType("video/3gpp", "3gp")
    return (
        FileType("audio/mp4", "m4a") if told.startswith("audio/") else FileType("video/mp4", "mp4")
    )


def _refined(file: IO[bytes], kind: FileType, hint: str) -> FileType:
    """Tell archives apart by what is in them, and the old office files by their name."""
    if kind.extension not in _CONTAINERS:
        return kind
    if _is_active_name(hint):
        raise FileRefusedError(
            RefusalReason.HOSTILE, f"it is called .{hint}, which something may run"
        )
    names = size_limits.check_archive(file) if kind.extension == "zip" else []
    if _PROGRAM_MEMBERS.intersection(names):
        raise FileRefusedError(RefusalReason.HOSTILE, "it is a program in an archive")
    office = next(
        (
            found
            for start, found in _OFFICE.items()
            if any(name.startswith(start) for name in names)
        ),
        None,
    )
    return office or _OLD_OFFICE.get(hint) or FileType(kind.mime, hint or kind.extension)


def _unnamed(head: bytes, hint: str) -> FileType:
    """Return the kind of a file without a signature: text, or bytes that a browser only offers to save."""
    if _is_active_name(hint) and hint != "xml":
        raise FileRefusedError(
            RefusalReason.HOSTILE, f"it is called .{hint}, which something may run"
        )
    is_text = not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head) and not _MARKUP.match(head)
    if is_text:
        return _TEXT.get(hint, _TEXT["txt"])
    return FileType(UNKNOWN_TYPE, hint or "bin")


def _is_active(head: bytes) -> bool:
    text = (
        head.decode("utf-16", errors="ignore").encode()
        if head[:2] in (b"\xff\xfe", b"\xfe\xff")
        else head
    )
    return bool(_MARKUP.match(text) and _ACTIVE_TEXT.search(text))


def _is_active_name(extension: str) -> bool:
    return f" {extension} " in _ACTIVE_NAMES and extension != ""


def _extension(name: str) -> str:
    match = re.search(r"\.([A-Za-z0-9]{1,8})$", name)
    return match[1].lower() if match else ""

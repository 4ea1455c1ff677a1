"""Files that unfold to far more than they seem: nobody here unfolds them, but whoever opens them does."""

import struct
import zipfile
from typing import IO

from workers.media.errors import FileRefusedError, RefusalReason

MAX_PIXELS = 250_000_000
"""A phone's largest camera has 200 million; WhatsApp itself sends 16 million at most."""
MAX_MEMBERS = 10_000
MAX_UNPACKED_BYTES = 1 << 30
MAX_COMPRESSION_RATIO = 200
"""Unfolded bytes a stored byte. Text compresses to a twentieth; deflate cannot do more than a thousandth."""
MAX_DIRECTORY_BYTES = 8 << 20
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG's markers that tell the size of the picture."""


def check_picture(file: IO[bytes], mime: str) -> None:
    """Refuse a picture of more than `MOST_PIXELS`, where its format tells how large it is."""
    file.seek(0)
    head = file.read(64)
    try:
        width, height = _size(file, head, mime)
    except struct.error:  # cut short: harmless
        return
    if width * height > MAX_PIXELS:
        raise FileRefusedError(RefusalReason.BOMB, f"it is a picture of {width} x {height} pixels")


def check_archive(file: IO[bytes]) -> list[str]:
    """Return the names in a zip archive; refuse one that unfolds to too much. A broken one has none."""
    file.seek(0, 2)
    size = file.tell()
    try:
        count, directory = _directory(file, size)
        if count > MAX_MEMBERS or directory > MAX_DIRECTORY_BYTES:
            raise FileRefusedError(RefusalReason.BOMB, f"it is an archive of {count} files")
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error):
        return []
    unfolded = sum(member.file_size for member in members)
    if (
        len(members) > MAX_MEMBERS
        or unfolded > MAX_UNPACKED_BYTES
        or unfolded > MAX_COMPRESSION_RATIO * max(size, 4096)
    ):
        raise FileRefusedError(
            RefusalReason.BOMB, f"it is an archive that unfolds to {unfolded} bytes"
        )
    return [member.filename for member in members]


def _directory(file: IO[bytes], size: int) -> tuple[int, int]:
    """Return how many members a zip says that it has, and the bytes of their list, without reading that."""
    file.seek(max(0, size - 66_000))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0:
        return 0, 0
    count, directory = struct.unpack_from("<HL", tail, end + 10)
    return (MAX_MEMBERS + 1, directory) if count == 0xFFFF else (count, directory)


def _size(file: IO[bytes], head: bytes, mime: str) -> tuple[int, int]:
    if mime == "image/png":
        width, height = struct.unpack_from(">II", head, 16)
    elif mime == "image/gif":
        width, height = struct.unpack_from("<HH", head, 6)
    elif mime == "image/bmp":
        width, height = map(abs, struct.unpack_from("<ii", head, 18))
    elif mime == "image/webp":
        width, height = _webp(head)
    elif mime == "image/jpeg":
        width, height = _jpeg(file)
    else:
        width = height = 0
    return int(width), int(height)


def _webp(head: bytes) -> tuple[int, int]:
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg(file: IO[bytes]) -> tuple[int, int]:
    """Walk from segment to segment until one tells the size."""
    file.seek(2)
    for _ in range(500):
        marker, length = struct.unpack(">xBH", file.read(4))
        if marker in _FRAMES:
            height, width = struct.unpack(">xHH", file.read(5))
            return width, height
        file.seek(length - 2, 1)
    return 0, 0

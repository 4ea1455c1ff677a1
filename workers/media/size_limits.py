"""Refuse bombs: pictures and archives that decode or unpack to far more than their size.

The pipeline decodes none of them, but the person who opens the file does.
"""

import struct
import zipfile
from typing import IO

from workers.media.errors import FileRefusedError, RefusalReason

MAX_PIXELS = 250_000_000
"""The largest camera of a phone has 200 million; WhatsApp itself sends 16 million at most."""
MAX_MEMBERS = 10_000
MAX_UNPACKED_BYTES = 1 << 30
MAX_COMPRESSION_RATIO = 200
"""Unpacked bytes per stored byte. Text compresses to 1/20; deflate reaches 1/1000 at most."""
MAX_DIRECTORY_BYTES = 8 << 20
_MIN_ARCHIVE_BYTES = 4096
_END_OF_DIRECTORY = b"PK\x05\x06"
_END_RECORD_BYTES = 66_000
"""The end record of a zip archive with its longest comment."""
_MAX_SEGMENTS = 500
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers of the segments that hold the size of the picture."""


def check_picture(file: IO[bytes], mime: str) -> None:
    """Check the size in the header of a picture. Formats without a reader here pass.

    Raises:
        FileRefusedError: it has more than MAX_PIXELS.
    """
    file.seek(0)
    head = file.read(64)
    try:
        width, height = _read_size(file, head, mime)
    except struct.error:  # cut short: it cannot be decoded
        return
    if width * height > MAX_PIXELS:
        msg = f"The picture has {width} x {height} pixels"
        raise FileRefusedError(RefusalReason.BOMB, msg)


def check_archive(file: IO[bytes]) -> list[str]:
    """Return the names in a zip archive; a broken archive has none.

    Raises:
        FileRefusedError: it holds too many files, or unpacks to too many bytes.
    """
    file.seek(0, 2)
    size = file.tell()
    try:
        count, directory_bytes = _read_directory_size(file, size)
        if count > MAX_MEMBERS or directory_bytes > MAX_DIRECTORY_BYTES:
            raise FileRefusedError(RefusalReason.BOMB, f"The archive holds {count} files")
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error):
        return []
    unpacked = sum(member.file_size for member in members)
    limit = min(MAX_UNPACKED_BYTES, MAX_COMPRESSION_RATIO * max(size, _MIN_ARCHIVE_BYTES))
    if len(members) > MAX_MEMBERS or unpacked > limit:
        raise FileRefusedError(RefusalReason.BOMB, f"The archive unpacks to {unpacked} bytes")
    return [member.filename for member in members]


def _read_directory_size(file: IO[bytes], size: int) -> tuple[int, int]:
    """Return the number of members and the bytes of their directory, without reading it."""
    file.seek(max(0, size - _END_RECORD_BYTES))
    tail = file.read()
    end = tail.rfind(_END_OF_DIRECTORY)
    if end < 0:
        return 0, 0
    count, directory_bytes = struct.unpack_from("<HL", tail, end + 10)
    is_zip64 = count == 0xFFFF
    return (MAX_MEMBERS + 1 if is_zip64 else count), directory_bytes


def _read_size(file: IO[bytes], head: bytes, mime: str) -> tuple[int, int]:
    """Return width and height in pixels, or 0, 0 for a format that is not read."""
    match mime:
        case "image/png":
            width, height = struct.unpack_from(">II", head, 16)
        case "image/gif":
            width, height = struct.unpack_from("<HH", head, 6)
        case "image/bmp":
            width, height = map(abs, struct.unpack_from("<ii", head, 18))
        case "image/webp":
            width, height = _read_webp_size(head)
        case "image/jpeg":
            width, height = _read_jpeg_size(file)
        case _:
            return 0, 0
    return width, height


def _read_webp_size(head: bytes) -> tuple[int, int]:
    if head[12:16] == b"VP8X":
        width = int.from_bytes(head[24:27], "little") + 1
        return width, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _read_jpeg_size(file: IO[bytes]) -> tuple[int, int]:
    """Walk from segment to segment until the size is found."""
    file.seek(2)
    for _ in range(_MAX_SEGMENTS):
        marker, length = struct.unpack(">xBH", file.read(4))
        if marker in _FRAME_MARKERS:
            height, width = struct.unpack(">xHH", file.read(5))
            return width, height
        file.seek(length - 2, 1)
    return 0, 0

"""The smallest files of each type."""

import base64
import io
import struct
import zipfile
from typing import Any
from uuid import UUID

from shared.outcomes import MessageOutcome
from tests.shared.webhooks.webhook_events import ACCEPTED, ACCOUNT


def png(width: int = 1, height: int = 1) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(
        ">I4sII5s", 13, b"IHDR", width, height, b"\x08\x02\x00\x00\x00"
    )


def jpeg(width: int = 1, height: int = 1, *, thumbnail: bytes = b"") -> bytes:
    exif = struct.pack(">BBH", 0xFF, 0xE1, len(thumbnail) + 2) + thumbnail
    return (
        b"\xff\xd8"
        + exif
        + struct.pack(">BBHBHHB", 0xFF, 0xC0, 11, 8, height, width, 1)
        + b"\x01\x11\x00\xff\xd9"
    )


def zipped(*names: str, content: bytes = b"x") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return packed.getvalue()


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def message(content: Any, name: str | None, mime: str | None = None) -> MessageOutcome:
    """Return the row of a message with a file."""
    return MessageOutcome(
        at=ACCEPTED,
        id=UUID(int=1),
        account=ACCOUNT,
        outgoing=False,
        phone="79990001122",
        content=content,
        file_name=name,
        file_type=mime,
        media_state="pending",
        status="delivered",
    )


DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
MP4, M4A = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00", b"\x00\x00\x00\x18ftypM4A \x00\x00\x02\x00"

"""Check the address of a file before the platform gets it: does it answer, and with that file?

Only the first bytes are read. The worker connects to public addresses only, like all downloads.
"""

import io
import socket
from typing import NamedTuple

from shared.events import SentMedia
from shared.file_types import find_kind
from workers.media import hostile
from workers.media.content_type import HEAD_BYTES, UNKNOWN_TYPE, detect_file_type
from workers.media.download import LinkFetcher, Peek
from workers.media.errors import (
    FileGoneError,
    FileRefusedError,
    FileUnreachableError,
    RefusalReason,
)

CHECK_TIMEOUT_S = 5.0
_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_GENERIC_TYPES = {UNKNOWN_TYPE, "application/zip", "application/x-ole-storage", "text/plain"}
_PAGES = ("text/html", "application/xhtml", "image/svg", "text/xml", "application/xml")


class _Declared(NamedTuple):
    file_name: str | None
    file_type: str | None
    content: str


def check_link(media: SentMedia, fetcher: LinkFetcher, max_bytes: int) -> str | None:
    """Return the MIME type of the file behind a link, or None where nothing tells it.

    Raises:
        FileRefusedError: the link leads to no file of this kind, now or later.
        FileUnreachableError: it does not answer now.
    """
    try:
        found = fetcher.peek(media.url, HEAD_BYTES, max_bytes)
    except FileGoneError as error:
        raise FileRefusedError(RefusalReason.GONE, _speak_of_address(error)) from None
    except FileUnreachableError as error:
        if _is_unknown_name(error):
            text = "The file's address has a host name that does not exist"
            raise FileRefusedError(RefusalReason.GONE, text) from None
        text = _speak_of_address(error)
        if not text.startswith("The file"):
            text = f"The file's address does not answer ({text})"
        raise FileUnreachableError(text) from None
    if found.size is not None and found.size > max_bytes:
        text = f"The file has {found.size} bytes; at most {max_bytes} are sent (WPP_MEDIA_LIMIT)"
        raise FileRefusedError(RefusalReason.TOO_LARGE, text)
    return _find_type(media, found)


def _find_type(media: SentMedia, found: Peek) -> str | None:
    named = media.mime or find_kind(media.url, media.filename)[1]
    if hostile.is_page(found.head) and not (named or "").startswith(_PAGES):
        text = "The file's address answers with a web page, not with a file"
        raise FileRefusedError(RefusalReason.WRONG, text)
    served = found.mime.partition(";")[0].strip().lower()
    declared = _Declared(media.filename, named or served, media.type)
    try:
        detected = detect_file_type(io.BytesIO(found.head), declared).mime
    except FileRefusedError as error:
        if error.reason in {RefusalReason.EMPTY, RefusalReason.WRONG}:
            raise
        return named
    if named:
        return named
    return detected if detected not in _GENERIC_TYPES else served or detected


def _speak_of_address(error: Exception) -> str:
    return str(error).replace("The link", "The file's address", 1)


def _is_unknown_name(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return cause.errno in _NO_SUCH_NAME
        cause = cause.__cause__ or cause.__context__
    return False

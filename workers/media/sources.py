"""Where a file comes from: what was posted, its link, or the platform, the first of them that has it."""

import base64
import binascii
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import IO

from shared import blobs
from shared.database.bucket import Bucket
from shared.errors import RefusedError
from shared.events import MediaEvent
from shared.lanes import Claim
from shared.settings import MediaSettings, SupabaseSettings, load
from workers.media.errors import GoneError, Reason, UnfitError, UnreachableError
from workers.media.fetch import Fetcher
from workers.services import Services

PATIENCE = 10
"""Tries at a link that does not answer, some twenty minutes, before the platform is asked instead."""
EXTEND_EVERY_S = 5.0
ANY_SIZE = 1 << 62
"""Our own limit ends a download, and says so."""
_DATA_URL = re.compile(rb"\s*data:[^,]{0,512},", re.IGNORECASE)
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")

Pieces = Iterable[bytes]
Source = Callable[[], AbstractContextManager[Pieces]]


@dataclass(frozen=True)
class Files:
    """Where files come from, and where they are kept. `limit` is in bytes."""

    fetcher: Fetcher
    bucket: Bucket
    limit: int


class TakenOverError(Exception):
    """Our lease has ended, and somebody else does this event now."""


@cache
def own_files() -> Files:
    """Return this process's files.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    settings = load(MediaSettings)
    return Files(Fetcher(settings), Bucket(load(SupabaseSettings), settings), settings.wpp_media_limit)


def collect(event: MediaEvent, file: IO[bytes], claim: Claim, here: Services, files: Files) -> int:
    """Write the file from the first place that has it; return its size in bytes."""
    why: list[str] = []
    for open_source in _sources(event, here, files):
        try:
            with open_source() as pieces:
                return _copied(pieces, file, files.limit, lambda: here.lanes.extend(claim))
        except GoneError as error:
            why.append(str(error))
        except RefusedError as error:
            why.append(f"the platform has none ({error})")
        except UnreachableError as error:
            if claim.attempts < PATIENCE:
                raise
            why.append(str(error))
    raise UnfitError(Reason.GONE, "; ".join(why) or "nobody said where it is")


def _sources(event: MediaEvent, here: Services, files: Files) -> Iterator[Source]:
    blob, url, message_id = event.blob, event.url, event.message.wa_message_id
    if blob:
        yield lambda: nullcontext(decoded(_there(blobs.pieces(here.redis, blob))))
    if inline := event.base64:
        yield lambda: nullcontext(decoded([inline.encode()]))
    if url:
        yield lambda: files.fetcher.open(url)
    if message_id:
        yield lambda: _downloaded(event.account, message_id, here)


@contextmanager
def _downloaded(account: str, message_id: str, here: Services) -> Iterator[Pieces]:
    with here.platform.download_media(account, message_id, max_bytes=ANY_SIZE) as download:
        yield download.chunks


def _there(pieces: Iterator[bytes]) -> Iterator[bytes]:
    first = next(pieces, None)
    if first is None:
        msg = "it waited too long"
        raise GoneError(msg)
    yield first
    yield from pieces


def decoded(pieces: Pieces) -> Iterator[bytes]:
    """Yield the bytes of a file that comes in base64, in either alphabet, with or without a data URL's prefix.

    Raises:
        UnfitError: it is no base64.
    """
    left, begun = b"", False
    try:
        for piece in pieces:
            text = piece if begun else _DATA_URL.sub(b"", piece, count=1)
            text = left + text.translate(_FROM_URL_SAFE, b" \t\r\n")
            whole = len(text) // 4 * 4
            begun, left = True, text[whole:]
            yield binascii.a2b_base64(text[:whole], strict_mode=True)
        yield base64.b64decode(left + b"=" * (-len(left) % 4), validate=True)
    except binascii.Error:
        raise UnfitError(Reason.WRONG, "it is no base64") from None


def _copied(pieces: Pieces, file: IO[bytes], limit: int, extend: Callable[[], bool]) -> int:
    file.seek(0)
    file.truncate()
    size, extended = 0, time.monotonic()
    for piece in pieces:
        size += file.write(piece)
        if size > limit:
            raise UnfitError(Reason.TOO_LARGE, f"it has more than {limit} bytes")
        if time.monotonic() - extended > EXTEND_EVERY_S:
            extended = time.monotonic()
            if not extend():
                raise TakenOverError
    return size

"""Where a file comes from: what was posted, its link, or the platform, the first of them that has it."""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import IO, NamedTuple

from shared import payload_store
from shared.database import Database
from shared.database.storage import Storage
from shared.errors import RefusedError
from shared.events import MediaEvent
from shared.settings import MediaSettings, PlatformSettings, SupabaseSettings, load_settings
from workers.context import WorkerContext
from workers.media import content_type
from workers.media.content_type import FileType
from workers.media.download import LinkFetcher
from workers.media.errors import (
    FileGoneError,
    FileRefusedError,
    FileUnreachableError,
    RefusalReason,
)
from workers.media.lease import Lease

NO_SIZE_LIMIT = 1 << 62
"""Our own limit ends a download, and says so."""
_DATA_URL = re.compile(rb"\s*data:[^,]{0,512},", re.IGNORECASE)
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")

_NO_FILE = {RefusalReason.HOSTILE, RefusalReason.WRONG, RefusalReason.EMPTY}
"""What a page looks like that says, with a 200, that a link has expired."""

Chunks = Iterable[bytes]


class FileSource(NamedTuple):
    """Where a file may be. What a link leads to may be anything."""

    open: Callable[[], AbstractContextManager[Chunks]]
    is_link: bool = False


@dataclass(frozen=True)
class MediaContext:
    """Where files come from, and where they are kept. `limit` is in bytes."""

    fetcher: LinkFetcher
    storage: Storage
    limit: int


@cache
def media_context() -> MediaContext:
    """Return this process's files.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    settings = load_settings(MediaSettings)
    fetcher = LinkFetcher(settings, str(load_settings(PlatformSettings).wpp_base_url))
    database = Database(load_settings(SupabaseSettings), media=settings)
    return MediaContext(fetcher, database.storage, settings.wpp_media_limit)


def fetch_file(  # noqa: PLR0913 - one file on its way
    event: MediaEvent,
    file: IO[bytes],
    lease: Lease,
    ctx: WorkerContext,
    files: MediaContext,
    *,
    patient: bool,
    connected: bool,
) -> tuple[int, FileType]:
    """Write the file from the first place that has it; return its size in bytes and what it is.

    `patient`: a link that does not answer may be asked again later. `connected`: the platform may be asked.
    """
    why: list[str] = []
    unfit: FileRefusedError | None = None
    for place in _places(event, ctx, files, connected=connected):
        try:
            with place.open() as pieces:
                size = _copied(pieces, file, files.limit, lease)
            return size, content_type.detect_file_type(file, event.message)
        except FileRefusedError as error:
            if not (place.is_link and error.reason in _NO_FILE):
                raise
            unfit = error
        except FileGoneError as error:
            why.append(str(error))
        except RefusedError as error:
            why.append(f"the platform has none ({error})")
        except FileUnreachableError as error:
            if patient:
                raise
            why.append(str(error))
    raise unfit or FileRefusedError(RefusalReason.GONE, "; ".join(why) or "nobody said where it is")


def _places(
    event: MediaEvent, ctx: WorkerContext, files: MediaContext, *, connected: bool
) -> Iterator[FileSource]:
    blob, url, message_id = event.blob, event.url, event.message.wa_message_id
    if blob:
        yield FileSource(
            lambda: nullcontext(decode_base64(_there(payload_store.read_chunks(ctx.redis, blob))))
        )
    if inline := event.base64:
        yield FileSource(lambda: nullcontext(decode_base64([inline.encode()])))
    if url:
        yield FileSource(lambda: files.fetcher.open(url), is_link=True)
    if message_id and connected:
        yield FileSource(lambda: _downloaded(event.account, message_id, ctx))


@contextmanager
def _downloaded(account: str, message_id: str, ctx: WorkerContext) -> Iterator[Chunks]:
    with ctx.as_account(account).download_media(message_id, max_bytes=NO_SIZE_LIMIT) as download:
        yield download.chunks


def _there(pieces: Iterator[bytes]) -> Iterator[bytes]:
    first = next(pieces, None)
    if first is None:
        msg = "it waited too long"
        raise FileGoneError(msg)
    yield first
    yield from pieces


def decode_base64(pieces: Chunks) -> Iterator[bytes]:
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
        raise FileRefusedError(RefusalReason.WRONG, "it is no base64") from None


def _copied(pieces: Chunks, file: IO[bytes], limit: int, lease: Lease) -> int:
    file.seek(0)
    file.truncate()
    size = 0
    for piece in pieces:
        size += file.write(piece)
        if size > limit:
            raise FileRefusedError(RefusalReason.TOO_LARGE, f"it has more than {limit} bytes")
        lease.check()
    return size

"""Fetch a file from its sources in turn: the posted bytes, the link, then the platform."""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, NamedTuple

from shared import payload_store
from shared.errors import RefusedError
from shared.events import MediaEvent
from shared.outcomes import MessageOutcome
from workers.context import WorkerContext
from workers.media.content_type import FileType, detect_file_type
from workers.media.context import MediaContext
from workers.media.errors import (
    FileGoneError,
    FileRefusedError,
    FileUnreachableError,
    RefusalReason,
)
from workers.media.lease import Lease

NO_SIZE_LIMIT = 1 << 62
"""For the platform client: the handler's own limit ends a download with its reason."""
_DATA_URL = re.compile(rb"\s*data:[^,]{0,512},", re.IGNORECASE)
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_ERROR_PAGE = {RefusalReason.HOSTILE, RefusalReason.WRONG, RefusalReason.EMPTY}
"""How a link's error page with status 200 looks: the next source may have the file."""

Chunks = Iterable[bytes]


class FileSource(NamedTuple):
    """A place that may have the file. `open` raises FileGoneError or FileUnreachableError."""

    open: Callable[[], AbstractContextManager[Chunks]]
    is_link: bool = False


class FetchedFile(NamedTuple):
    """A file that passed all checks. `size` is in bytes."""

    content: IO[bytes]
    size: int
    type: FileType


class FileWriter(NamedTuple):
    """Writes a file, up to `max_bytes`, for as long as the claim's lease is held."""

    content: IO[bytes]
    max_bytes: int
    lease: Lease

    def write(self, chunks: Chunks) -> int:
        """Replace the content by `chunks`; return its size in bytes.

        Raises:
            FileRefusedError: it is larger than `max_bytes`.
            LeaseLostError: the claim has passed to another worker.
        """
        self.content.seek(0)
        self.content.truncate()
        size = 0
        for chunk in chunks:
            size += self.content.write(chunk)
            if size > self.max_bytes:
                msg = f"The file is larger than {self.max_bytes} bytes"
                raise FileRefusedError(RefusalReason.TOO_LARGE, msg)
            self.lease.check()
        return size


def list_sources(
    event: MediaEvent, ctx: WorkerContext, media: MediaContext, *, ask_platform: bool
) -> list[FileSource]:
    """Return the sources of a file, in the order in which they are tried."""
    sources = []
    if blob := event.blob:
        sources.append(FileSource(lambda: nullcontext(_read_blob(ctx, blob))))
    if inline := event.base64:
        sources.append(FileSource(lambda: nullcontext(decode_base64([inline.encode()]))))
    if url := event.url:
        sources.append(FileSource(lambda: media.fetcher.open(url), is_link=True))
    if ask_platform and (message_id := event.message.wa_message_id):
        sources.append(FileSource(lambda: _download(event.account, message_id, ctx)))
    return sources


def fetch_file(
    sources: list[FileSource], writer: FileWriter, message: MessageOutcome, *, retry_links: bool
) -> FetchedFile:
    """Fetch the file from the first source that has it, and check it.

    `retry_links`: a link that does not answer ends the attempt, and is tried again later.

    Raises:
        FileRefusedError: the file is not stored, or no source has it.
        FileUnreachableError: try again later.
        LeaseLostError: the claim has passed to another worker.
        PlatformError: the platform does not answer.
    """
    reasons: list[str] = []
    refusal: FileRefusedError | None = None
    for source in sources:
        try:
            with source.open() as chunks:
                size = writer.write(chunks)
            return FetchedFile(writer.content, size, detect_file_type(writer.content, message))
        except FileRefusedError as error:
            if not (source.is_link and error.reason in _ERROR_PAGE):
                raise
            refusal = error
        except FileGoneError as error:
            reasons.append(str(error))
        except RefusedError as error:
            reasons.append(f"The platform does not have the file ({error})")
        except FileUnreachableError as error:
            if retry_links:
                raise
            reasons.append(str(error))
    text = "; ".join(reasons) or "The message does not say where its file is"
    raise refusal or FileRefusedError(RefusalReason.GONE, text)


def decode_base64(chunks: Chunks) -> Iterator[bytes]:
    """Decode base64 chunk by chunk: either alphabet, with or without a data URL's prefix.

    Raises:
        FileRefusedError: it is not base64.
    """
    rest = b""
    is_first = True
    try:
        for chunk in chunks:
            prefix = _DATA_URL.match(chunk) if is_first else None
            text = chunk[prefix.end() :] if prefix else chunk
            text = rest + text.translate(_FROM_URL_SAFE, b" \t\r\n")
            is_first = False
            whole = len(text) // 4 * 4
            rest = text[whole:]
            yield binascii.a2b_base64(text[:whole], strict_mode=True)
        yield base64.b64decode(rest + b"=" * (-len(rest) % 4), validate=True)
    except binascii.Error:
        raise FileRefusedError(RefusalReason.WRONG, "The file is not valid base64") from None


def _read_blob(ctx: WorkerContext, blob: str) -> Iterator[bytes]:
    """Decode a file from the payload store.

    Raises:
        FileGoneError: it has expired.
    """
    chunks = payload_store.read_chunks(ctx.redis, blob)
    first = next(chunks, None)
    if first is None:
        msg = "The posted file has expired in the queue"
        raise FileGoneError(msg)
    return decode_base64(_prepend(first, chunks))


def _prepend(first: bytes, chunks: Chunks) -> Iterator[bytes]:
    yield first
    yield from chunks


@contextmanager
def _download(account: str, message_id: str, ctx: WorkerContext) -> Iterator[Chunks]:
    """Download the file from the platform, by the message's WhatsApp id."""
    platform = ctx.as_account(account)
    with platform.download_media(message_id, max_bytes=NO_SIZE_LIMIT) as download:
        yield download.chunks

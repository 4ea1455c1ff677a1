"""The file of one message: fetched from where it is, looked at, kept in Supabase Storage, and shown in the row.

The row is there already, with `media_state` pending. What became of the file is told as the same row once more,
`stored` with a link to it or `refused` with the reason in its metadata: the SQL brings both together in any order.
"""

import base64
import binascii
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import IO, Any, Literal

import structlog

from shared import blobs
from shared.database.bucket import Bucket, FileTooLargeError
from shared.directory import Route
from shared.errors import DatabaseError, DatabaseUnavailableError, PlatformError, RefusedError
from shared.events import MediaEvent
from shared.lanes import Claim, Postponed, Settled, Verdict
from shared.outcomes import MessageOutcome
from shared.settings import MediaSettings, SupabaseSettings, load
from workers.dead_letters import dead_letter
from workers.drain import back_off
from workers.media import kinds
from workers.media.errors import GoneError, Reason, UnfitError, UnreachableError
from workers.media.fetch import Fetcher
from workers.services import Services

CAP_S = 600.0
"""The longest pause between two tries at a file."""
PATIENCE = 10
"""Tries at a link that does not answer, some twenty minutes, before the platform is asked instead."""
EXTEND_EVERY_S = 5.0
_DATA_URL = re.compile(rb"\s*data:[^,]{0,512},", re.IGNORECASE)
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")

Pieces = Iterable[bytes]
Source = Callable[[], AbstractContextManager[Pieces]]
log = structlog.get_logger()


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


def handle(claim: Claim, here: Services, files: Files | None = None) -> Verdict:
    """Bring one file into Supabase."""
    event = MediaEvent.model_validate_json(claim.body)
    route = here.directory.of_account(event.account)
    if route is None:
        return _later(claim, "no integration has this account yet")
    try:
        kept = _kept(event, route, claim, here, files or own_files())
    except UnfitError as error:
        log.info("media.refused", message_id=str(event.message.id), reason=error.reason)
        kept = _refused(event, error.reason, str(error))
    except TakenOverError:
        return Postponed(0, "another worker does it")
    except DatabaseUnavailableError:
        raise
    except (UnreachableError, PlatformError, DatabaseError) as error:
        return _later(claim, str(error), getattr(error, "retry_after_s", None))
    if event.blob:
        blobs.let_go(here.redis, [event.blob])
    return Settled("done", [kept], {"media": kept.media_state})


def give_up(claim: Claim, reason: str, detail: str) -> Verdict:
    event = MediaEvent.model_validate_json(claim.body)
    outcomes = [_refused(event, reason, detail), dead_letter(event, claim, reason, detail)]
    return Settled("failed", outcomes, {"reason": detail})


def _kept(event: MediaEvent, route: Route, claim: Claim, here: Services, files: Files) -> MessageOutcome:
    """Store the file; return the row that shows it. The same file twice is one object."""
    message = event.message
    with tempfile.TemporaryFile(prefix="wpp-media-") as file:
        size = _collect(event, file, claim, here, files)
        kind = kinds.judge(file, message)
        path = f"wpp/{route.organization_id}/{message.id}.{kind.extension}"
        here.lanes.extend(claim)
        try:
            link = files.bucket.keep(path, file, kind.mime)
        except FileTooLargeError as error:
            raise UnfitError(Reason.TOO_LARGE, str(error)) from None
    name = kinds.named(message.file_name or message.content, kind)
    known = {"media_path": path, "media_size": size}
    return _shown(event, "stored", known, file_url=link, file_name=name, file_type=kind.mime)


def _collect(event: MediaEvent, file: IO[bytes], claim: Claim, here: Services, files: Files) -> int:
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
        yield lambda: _downloaded(event.account, message_id, here, files.limit)


@contextmanager
def _downloaded(account: str, message_id: str, here: Services, limit: int) -> Iterator[Pieces]:
    with here.platform.download_media(account, message_id, max_bytes=limit + 1) as download:
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
            begun = True
            text = left + text.translate(_FROM_URL_SAFE, b" \t\r\n")
            whole = len(text) // 4 * 4
            left = text[whole:]
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


def _later(claim: Claim, why: str, after_s: float | None = None) -> Postponed:
    return Postponed(after_s or back_off(claim.attempts, base_s=1, cap_s=CAP_S), why)


def _refused(event: MediaEvent, reason: str, why: str) -> MessageOutcome:
    return _shown(event, "refused", {"media_refused": reason, "media_error": why[:500]})


def _shown(
    event: MediaEvent, state: Literal["stored", "refused"], known: dict[str, Any], **file: str
) -> MessageOutcome:
    """Return the message's row once more, with what became of its file."""
    metadata = {**event.message.metadata, **known}
    return event.message.model_copy(update={"media_state": state, "metadata": metadata, **file})

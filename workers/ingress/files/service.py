"""Upload a file: from the request to a temporary file, checked, then to Supabase Storage.

Nothing of a file stays in memory but the chunk that is being written.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, NamedTuple
from uuid import UUID, uuid4

from fastapi.concurrency import run_in_threadpool
from starlette.requests import Request

from shared.database.models import UploadedFile
from shared.database.storage import FileTooLargeError
from shared.errors import IdempotencyConflictError, OverloadedError
from shared.events import utc_now
from shared.platform.payloads import clean_filename
from workers.ingress.body import (
    BodyReader,
    BodyTimeoutError,
    BodyTooLargeError,
    DisconnectedError,
)
from workers.ingress.deps import AppState
from workers.ingress.files.schemas import StoredFile
from workers.ingress.messages.senders import invalid_field
from workers.media.content_type import FileType, detect_file_type, rename_file
from workers.media.errors import FileRefusedError

MAX_UPLOADS_OF_ORGANIZATION = 4
"""At the same time, in one process."""
_running: Counter[UUID] = Counter()


@dataclass(frozen=True)
class Upload:
    """Whose file it is, and what its sender says of it."""

    organization_id: UUID
    name: str | None
    content_type: str


class _Declared(NamedTuple):
    file_name: str | None
    file_type: str | None
    content: str = "document"


class _Received(NamedTuple):
    """A file in full, with its size in bytes."""

    content: IO[bytes]
    size: int
    sha256: str


async def store(
    upload: Upload, key: str | None, request: Request, state: AppState
) -> tuple[StoredFile, bool]:
    """Store a file; return it, and whether it is new. A repeated request has one effect.

    Raises:
        OverloadedError: too many files are being uploaded.
        BodyTooLargeError, BodyTimeoutError: as `BodyReader`.
        RequestValidationError: the file is empty, a program or a page, or its name says so.
        IdempotencyConflictError: the key was used for another file.
        DatabaseError: Supabase did not take it.
    """
    with _hold_place(upload.organization_id):
        async with state.uploads:
            with tempfile.TemporaryFile(prefix="wpp-upload-") as content:
                received = await _receive(content, request, state)
                found = await run_in_threadpool(_detect, received, upload)
                return await run_in_threadpool(_store, upload, key, received, found, state)


@contextmanager
def _hold_place(organization_id: UUID) -> Iterator[None]:
    if _running[organization_id] >= MAX_UPLOADS_OF_ORGANIZATION:
        msg = f"{MAX_UPLOADS_OF_ORGANIZATION} files are being uploaded already; try again"
        raise OverloadedError(msg, retry_after_s=2)
    _running[organization_id] += 1
    try:
        yield
    finally:
        _running[organization_id] -= 1
        if not _running[organization_id]:
            del _running[organization_id]


async def _receive(content: IO[bytes], request: Request, state: AppState) -> _Received:
    limit = state.file_limit
    reader = BodyReader(request.scope, request.receive, state.limits, limit)
    digest = hashlib.sha256()
    size = 0
    more = True
    while more:
        try:
            chunk, more = await reader.read_chunk()
        except DisconnectedError:
            raise BodyTimeoutError from None  # nobody reads the answer
        size += len(chunk)
        if size > limit:
            raise BodyTooLargeError(limit)
        digest.update(chunk)
        await run_in_threadpool(content.write, chunk)
    return _Received(content, size, digest.hexdigest())


def _detect(received: _Received, upload: Upload) -> FileType:
    declared = _Declared(upload.name, upload.content_type.partition(";")[0].strip().lower())
    try:
        return detect_file_type(received.content, declared)
    except FileRefusedError as error:
        raise invalid_field(str(error), field="body") from None


def _store(
    upload: Upload, key: str | None, received: _Received, found: FileType, state: AppState
) -> tuple[StoredFile, bool]:
    organization_id = upload.organization_id
    file_id = state.event_ids.make(organization_id, f"file:{key}") if key else uuid4()
    files = state.database.files
    if key and (earlier := files.get(file_id, organization_id)):
        if earlier.sha256 != received.sha256:
            raise IdempotencyConflictError
        return _describe(earlier, state), False
    file = UploadedFile(
        id=file_id,
        organization_id=organization_id,
        path=f"wpp/{organization_id}/files/{file_id}.{found.extension}",
        name=rename_file(clean_filename(upload.name or "") or "file", found),
        mime=found.mime,
        size=received.size,
        sha256=received.sha256,
        created_at=utc_now(),
    )
    try:
        state.database.storage.upload(file.path, received.content, file.mime)
    except FileTooLargeError:
        raise BodyTooLargeError(received.size - 1, ", says Supabase Storage") from None
    files.add(file)
    return _describe(file, state), True


def _describe(file: UploadedFile, state: AppState) -> StoredFile:
    return StoredFile(
        id=file.id,
        url=state.database.storage.link(file.path),
        name=file.name,
        mime=file.mime,
        size=file.size,
        expires_at=file.created_at + timedelta(days=state.file_days),
    )

"""The uploaded file that a message uses, by its id or by a link to it."""

import re
from uuid import UUID

from cachetools import TTLCache
from fastapi.concurrency import run_in_threadpool

from shared.database.models import UploadedFile
from shared.database.storage import FileMissingError
from shared.errors import NotFoundError
from shared.events import Message, SentMedia
from workers.ingress.deps import AppState

_PATH = re.compile(r"wpp/([0-9a-f-]{36})/files/([0-9a-f-]{36})\.\w+")

_recent: TTLCache[tuple[UUID, UUID], UploadedFile] = TTLCache(1000, 60)
"""Used files, which are not deleted any more."""


async def find_upload(message: Message, organization_id: UUID, state: AppState) -> SentMedia | None:
    """Return the file that a message uses, if it was uploaded; the file is kept from then on.

    Raises:
        NotFoundError: the organization has no such file.
        DatabaseError: Supabase did not answer.
    """
    media = message.media
    if media is None:
        return None
    file_id = media.file_id or _read_link(str(media.url), organization_id, state)
    if file_id is None:
        return None
    file = await _use(file_id, organization_id, state)
    try:
        url = await run_in_threadpool(state.database.storage.recent_link, file.path)
    except FileMissingError:
        raise _not_found(file_id) from None
    return SentMedia(
        type=media.type,
        url=url,
        filename=media.filename or file.name,
        mime=media.mime or file.mime,
        path=file.path,
    )


async def _use(file_id: UUID, organization_id: UUID, state: AppState) -> UploadedFile:
    """Return a file, which is kept from now on; all messages of a batch ask once."""
    known = _recent.get((organization_id, file_id))
    if known is None:
        known = await run_in_threadpool(state.database.files.use, file_id, organization_id)
        if known is None:
            raise _not_found(file_id)
        _recent[organization_id, file_id] = known
    return known


def _read_link(url: str, organization_id: UUID, state: AppState) -> UUID | None:
    """Return the id of the uploaded file that a link leads to; None for any other link."""
    found = _PATH.fullmatch(state.database.storage.find_path(url) or "")
    if found is None:
        return None
    file_id = UUID(found[2])
    if found[1] != str(organization_id):
        raise _not_found(file_id)
    return file_id


def _not_found(file_id: UUID) -> NotFoundError:
    return NotFoundError(f"no file {file_id} in this organization; it may have expired unused")

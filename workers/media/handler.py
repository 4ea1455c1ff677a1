"""The file of one message: fetched from where it is, looked at, kept in Supabase Storage, and shown in the row.

The row is there already, with `media_state` pending. What became of the file is told as the same row once more,
`stored` with a link to it or `refused` with the reason in its metadata: the SQL brings both together in any order.
"""

import hashlib
import tempfile
from typing import IO, Any, Literal
from uuid import UUID

import structlog

from shared import payload_store
from shared.database.storage import FileTooLargeError
from shared.errors import DatabaseError, DatabaseUnavailableError, LeaseLostError, PlatformError
from shared.events import MediaEvent
from shared.lanes.client import Claim, ClaimResult, Postponed, Settled
from shared.outcomes import MessageOutcome
from workers.context import WorkerContext
from workers.dead_letters import build_dead_letter
from workers.media import content_type
from workers.media.content_type import FileType
from workers.media.errors import FileRefusedError, FileUnreachableError, RefusalReason
from workers.media.lease import Lease, hold_lease
from workers.media.sources import MediaContext, fetch_file
from workers.retry import Backoff

MAX_ATTEMPTS = 10
"""Tries at a link that does not answer, some twenty minutes, before the platform is asked instead."""
BACKOFF = Backoff(base_s=1, cap_s=600)
"""Between two attempts at a file."""
log = structlog.get_logger()


def handle_media(
    event: MediaEvent, claim: Claim, ctx: WorkerContext, files: MediaContext
) -> ClaimResult:
    """Bring one file into Supabase."""
    route = ctx.route_cache.find_account_route(event.account)
    organization_id = (
        route.organization_id if route else ctx.database.integrations.find_owner(event.account)
    )
    if organization_id is None:
        return _later(claim, "no integration has this account yet")
    try:
        with (
            hold_lease(claim, ctx.lanes) as lease,
            tempfile.TemporaryFile(prefix="wpp-media-") as file,
        ):
            patient = claim.attempts < MAX_ATTEMPTS
            size, kind = fetch_file(
                event, file, lease, ctx, files, patient=patient, connected=bool(route)
            )
            kept = _kept(
                event, _path(organization_id, event, file, kind), (file, size, kind), lease, files
            )
    except FileRefusedError as error:
        log.info("media.refused", message_id=str(event.message.id), reason=error.reason)
        kept = _refused(event, error.reason, str(error))
    except LeaseLostError:
        return Postponed(0, "another worker does it")
    except DatabaseUnavailableError:
        raise
    except (FileUnreachableError, PlatformError, DatabaseError) as error:
        return _later(claim, str(error), getattr(error, "retry_after_s", None))
    if event.blob:
        payload_store.release(ctx.redis, [event.blob])
    return Settled("done", [kept], {"media": kept.media_state})


def dead_letter_media(event: MediaEvent, claim: Claim, reason: str, detail: str) -> ClaimResult:
    outcomes = [_refused(event, reason, detail), build_dead_letter(event, claim, reason, detail)]
    return Settled("failed", outcomes, {"reason": detail, "code": reason})


def _path(organization_id: UUID, event: MediaEvent, file: IO[bytes], kind: FileType) -> str:
    """Return the file's key: the same file twice is one object, another one of the same message a second one."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # it reads any
    return f"wpp/{organization_id}/{event.message.id}-{digest[:16]}.{kind.extension}"


def _kept(
    event: MediaEvent,
    path: str,
    found: tuple[IO[bytes], int, FileType],
    lease: Lease,
    files: MediaContext,
) -> MessageOutcome:
    """Store the file; return the row that shows it."""
    file, size, kind = found
    lease.renew()
    try:
        link = files.storage.upload(path, file, kind.mime)
    except FileTooLargeError as error:
        raise FileRefusedError(RefusalReason.TOO_LARGE, str(error)) from None
    lease.check()
    name = content_type.rename_file(event.message.file_name or event.message.content, kind)
    known = {"media_path": path, "media_size": size}
    return _shown(event, "stored", known, file_url=link, file_name=name, file_type=kind.mime)


def _later(claim: Claim, why: str, after_s: float | None = None) -> Postponed:
    return Postponed(after_s or BACKOFF.after(claim.attempts), why)


def _refused(event: MediaEvent, reason: str, why: str) -> MessageOutcome:
    return _shown(event, "refused", {"media_refused": reason, "media_error": why[:500]})


def _shown(
    event: MediaEvent, state: Literal["stored", "refused"], known: dict[str, Any], **file: str
) -> MessageOutcome:
    """Return the message's row once more, with what became of its file."""
    metadata = {**event.message.metadata, **known}
    return event.message.model_copy(update={"media_state": state, "metadata": metadata, **file})

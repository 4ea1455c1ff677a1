"""Handle a media event: fetch the file of a message, check it, store it, and update its row.

The row exists already, with `media_state` pending. The outcome is the same row with `stored` and a
link, or with `refused` and the reason in its metadata. The SQL merges both in any order.
"""

import hashlib
import tempfile
from typing import Any, Literal
from uuid import UUID

import structlog

from shared import payload_store
from shared.database.storage import FileTooLargeError
from shared.errors import DatabaseError, DatabaseUnavailableError, LeaseLostError, PlatformError
from shared.events import MediaEvent
from shared.lanes.types import Claim, ClaimResult, Postponed, Settled
from shared.outcomes import MessageOutcome
from workers.context import WorkerContext
from workers.dead_letters import build_dead_letter
from workers.media.content_type import rename_file
from workers.media.context import MediaContext
from workers.media.errors import FileRefusedError, FileUnreachableError, RefusalReason
from workers.media.lease import Lease, hold_lease
from workers.media.sources import FetchedFile, FileWriter, fetch_file, list_sources
from workers.retry import Backoff

MAX_LINK_ATTEMPTS = 10
"""Attempts at a link that does not answer, in about 20 minutes, before the platform is asked."""
BACKOFF = Backoff(base_s=1, cap_s=600)
"""Between two attempts at a file."""
MAX_ERROR = 500

log = structlog.get_logger()


def handle_media(
    event: MediaEvent, claim: Claim, ctx: WorkerContext, media: MediaContext
) -> ClaimResult:
    """Fetch a file and store it in Supabase."""
    route = ctx.route_cache.find_account_route(event.account)
    organization_id = (
        route.organization_id if route else ctx.database.integrations.find_owner(event.account)
    )
    if organization_id is None:
        return _postpone(claim, "no integration has this account yet")
    sources = list_sources(event, ctx, media, ask_platform=route is not None)
    retry_links = claim.attempts < MAX_LINK_ATTEMPTS
    try:
        with (
            hold_lease(claim, ctx.lanes, media.renew_every_s) as lease,
            tempfile.TemporaryFile(prefix="wpp-media-") as content,
        ):
            writer = FileWriter(content, media.max_bytes, lease)
            file = fetch_file(sources, writer, event.message, retry_links=retry_links)
            row = _store(event, _build_path(organization_id, event, file), file, lease, media)
    except FileRefusedError as error:
        log.info("media.refused", message_id=str(event.message.id), reason=error.reason)
        row = _build_refused_row(event, error.reason, str(error))
    except LeaseLostError:
        return Postponed(0, "another worker has the event")
    except DatabaseUnavailableError:
        raise
    except (FileUnreachableError, PlatformError, DatabaseError) as error:
        return _postpone(claim, str(error), getattr(error, "retry_after_s", None))
    if event.blob:
        payload_store.release(ctx.redis, [event.blob])
    return Settled("done", [row], {"media": row.media_state})


def dead_letter_media(event: MediaEvent, claim: Claim, reason: str, detail: str) -> ClaimResult:
    """End an event as a dead letter, and show the file as refused."""
    row = _build_refused_row(event, reason, detail)
    letter = build_dead_letter(event, claim, reason, detail)
    return Settled("failed", [row, letter], {"reason": detail, "code": reason})


def _build_path(organization_id: UUID, event: MediaEvent, file: FetchedFile) -> str:
    """Return the key in storage. The same file has the same key, so that a retry replaces it."""
    file.content.seek(0)
    digest = hashlib.file_digest(file.content, "sha256").hexdigest()  # type: ignore[arg-type]
    return f"wpp/{organization_id}/{event.message.id}-{digest[:16]}.{file.type.extension}"


def _store(
    event: MediaEvent, path: str, file: FetchedFile, lease: Lease, media: MediaContext
) -> MessageOutcome:
    """Upload the file; return the row that shows it.

    Raises:
        FileRefusedError: it is larger than the Supabase project allows.
        LeaseLostError: the claim has passed to another worker.
    """
    lease.renew()
    try:
        link = media.storage.upload(path, file.content, file.type.mime)
    except FileTooLargeError as error:
        raise FileRefusedError(RefusalReason.TOO_LARGE, str(error)) from None
    lease.check()
    return _build_row(
        event,
        "stored",
        {"media_path": path, "media_size": file.size},
        file_url=link,
        file_name=rename_file(event.message.file_name or event.message.content, file.type),
        file_type=file.type.mime,
    )


def _postpone(claim: Claim, why: str, after_s: float | None = None) -> Postponed:
    return Postponed(after_s or BACKOFF.after(claim.attempts), why)


def _build_refused_row(event: MediaEvent, reason: str, text: str) -> MessageOutcome:
    """Return the row without its file; a message without a text gets a label in its place."""
    metadata: dict[str, Any] = {"media_refused": reason, "media_error": text[:MAX_ERROR]}
    content = event.message.content
    if event.message.text:
        return _build_row(event, "refused", metadata)
    label = f"[{content.capitalize() if content != 'other' else 'File'}]"
    return _build_row(event, "refused", {**metadata, "stand_in": True}, text=label)


def _build_row(
    event: MediaEvent, state: Literal["stored", "refused"], metadata: dict[str, Any], **more: str
) -> MessageOutcome:
    """Return the message's row with the state of its file."""
    merged = {**event.message.metadata, **metadata}
    return event.message.model_copy(update={"media_state": state, "metadata": merged, **more})

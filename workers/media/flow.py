"""The file of one message: fetched from where it is, looked at, kept in Supabase Storage, and shown in the row.

The row is there already, with `media_state` pending. What became of the file is told as the same row once more,
`stored` with a link to it or `refused` with the reason in its metadata: the SQL brings both together in any order.
"""

import tempfile
from typing import Any, Literal

import structlog

from shared import blobs
from shared.database.bucket import FileTooLargeError
from shared.directory import Route
from shared.errors import DatabaseError, DatabaseUnavailableError, PlatformError
from shared.events import MediaEvent
from shared.lanes import Claim, Postponed, Settled, Verdict
from shared.outcomes import MessageOutcome
from workers.dead_letters import dead_letter
from workers.drain import back_off
from workers.media import kinds
from workers.media.errors import Reason, UnfitError, UnreachableError
from workers.media.sources import Files, TakenOverError, collect
from workers.services import Services

CAP_S = 600.0
"""The longest pause between two tries at a file."""
log = structlog.get_logger()


def handle(claim: Claim, here: Services, files: Files) -> Verdict:
    """Bring one file into Supabase."""
    event = MediaEvent.model_validate_json(claim.body)
    route = here.directory.of_account(event.account)
    if route is None:
        return _later(claim, "no integration has this account yet")
    try:
        kept = _kept(event, route, claim, here, files)
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
    return Settled("failed", outcomes, {"reason": detail, "code": reason})


def _kept(event: MediaEvent, route: Route, claim: Claim, here: Services, files: Files) -> MessageOutcome:
    """Store the file; return the row that shows it. The same file twice is one object."""
    message = event.message
    with tempfile.TemporaryFile(prefix="wpp-media-") as file:
        size = collect(event, file, claim, here, files)
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

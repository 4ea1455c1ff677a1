"""Captions of files: the platform drops them, so each follows its file as a text.

The file goes out at one claim of its message, the caption at the next. Between the two the message
stays at the head of its lane, and its record holds the platform's id of the file: whatever ends a
worker, the file goes out once. Both parts have one row.
"""

from uuid import uuid5

from shared import routing
from shared.events import SendEvent, utc_now
from shared.lanes.records import Record
from shared.lanes.types import Claim, Postponed, Settled
from shared.platform.models import SendResult
from workers.dead_letters import build_dead_letter

NO_ID = "-"
"""In place of the platform's id, where its answer had none."""
FOLLOWS = "the file was sent; its caption follows"
MISSING = "the file was sent without its caption"
IN_DOUBT = "the file was sent; its caption may or may not have been"


def let_caption_follow(event: SendEvent, file: SendResult) -> Postponed:
    """Return what a message waits for whose file was taken: its next claim sends the caption."""
    outcome = routing.build_message_outcome(event, "queued", utc_now(), task_id=file.task_id)
    fields = {"file_task": file.task_id or NO_ID}
    if file.task_id:
        fields["task_id"] = file.task_id
    return Postponed(0, FOLLOWS, [outcome], fields, unstarted=True)


def settle_with_caption(event: SendEvent, claim: Claim, caption: SendResult) -> Settled:
    """Settle a message whose caption was taken. Reports on either part reach its row."""
    now = utc_now()
    file_id = find_file_id(claim)
    outcomes = [routing.build_message_outcome(event, "sent", now, task_id=file_id)]
    fields = {"task_id": file_id} if file_id else {}
    if caption.task_id:
        # A later outcome adds its id to those of the row, which keeps the first as its own.
        outcomes.append(routing.build_message_outcome(event, "sent", now, task_id=caption.task_id))
        fields["caption_task_id"] = caption.task_id
    return Settled("sent", outcomes, fields)


def settle_without_caption(event: SendEvent, claim: Claim, reason: str, detail: str) -> Settled:
    """Settle a message as sent whose caption cannot be: a dead letter holds the caption alone."""
    file_id = find_file_id(claim)
    text = f"{MISSING}: {detail}"
    outcomes = (
        routing.build_message_outcome(event, "sent", utc_now(), task_id=file_id, error=text),
        build_dead_letter(make_caption_event(event), claim, reason, text),
    )
    return Settled("sent", outcomes, {"reason": text} | ({"task_id": file_id} if file_id else {}))


def make_caption_event(event: SendEvent) -> SendEvent:
    """Return the caption of a message as a message of its own."""
    return event.model_copy(update={"id": uuid5(event.id, "caption"), "media": None})


def find_file_id(claim: Claim | Record) -> str | None:
    """Return the platform's id of the file that went out, if its answer had one."""
    return claim.file_task if claim.file_task != NO_ID else None

"""Outcomes: the rows of the outbox, applied to Supabase in batches by `wpp_apply(batch jsonb)`.

An outcome can be applied alone, in any order and any number of times: the SQL finds or creates the
row, and a status only moves forward. The functions in supabase/migrations implement this.
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

NEWEST_OUTCOME = 1
"""The newest version of outcomes that this code writes and carries. A change that an earlier SQL
function must not overlook raises it, and `wpp_outcome_version()` in the same migration; the
outcomes concerned get it as their `v` (docs/upgrading.md)."""

MessageStatus = Literal["queued", "sent", "delivered", "read", "failed", "unknown", "deleted"]
SessionStatus = Literal["starting", "qr_issued", "connected", "degraded", "disconnected", "error"]
ContentType = Literal[
    "text",
    "image",
    "video",
    "audio",
    "voice",
    "document",
    "sticker",
    "location",
    "contact",
    "other",
]
Substitute = Literal[
    "caption_as_text", "contact_as_text", "map_link", "quoted_text", "voice_as_file"
]
"""What the recipient gets in place of what the platform has no call for (docs/sending.md)."""


class Outcome(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    v: Literal[1] = 1
    at: datetime = Field(description="Time of the event; the platform's, if it is known.")


class MessageOutcome(Outcome):
    """A message, outgoing or incoming: the `chat_messages` row with this id.

    The integration is identified by `integration_id` (our sends) or `account` (platform events).
    `task_id` is the id in the platform's queue, `wa_message_id` is WhatsApp's id. Either may become
    known only later. `metadata.stand_in` marks a text that is a label in place of words that may
    still come.
    """

    type: Literal["message"] = "message"
    id: UUID
    organization_id: UUID | None = None
    integration_id: UUID | None = None
    account: str | None = None
    outgoing: bool
    phone: str = Field(description="The peer, international digits.")
    own_phone: str | None = Field(
        default=None, description="The account's own number, where the platform names it."
    )
    lid: str | None = Field(None, description="The peer's hidden id: <digits>@lid.")
    peer_name: str | None = None
    client_id: UUID | None = None
    teacher_id: UUID | None = None
    sender_name: str | None = None
    content: ContentType = "text"
    text: str = ""
    file_url: str | None = None
    file_name: str | None = None
    file_type: str | None = None
    media_state: Literal["none", "pending", "stored", "refused"] = "none"
    status: MessageStatus
    task_id: str | None = None
    wa_message_id: str | None = None
    error: str | None = None
    code: str | None = Field(None, description="Why it failed, as a name.")
    event: str | None = Field(
        default=None, description="What happened, where that is no status: `attempt`."
    )
    attempt: int | None = Field(None, description="The attempt that this ends, from 1.")
    started_at: datetime | None = Field(None, description="When that attempt began.")
    arrived_at: datetime | None = Field(
        default=None, description="When its webhook was accepted, by our own clock."
    )
    metadata: dict[str, Any] = Field(default_factory=dict)


class MessageReference(Outcome):
    """What names an earlier message: any of its ids, and its chat and direction where known."""

    account: str
    external_ids: list[str]
    lid: str | None = Field(None, description="The hidden id of the chat: <digits>@lid.")
    target_outgoing: bool | None = Field(
        None, description="Whether the organization wrote the message that the ids name."
    )
    own: bool | None = Field(
        default=None, description="Whether the pipeline did it; else the platform reported it."
    )
    arrived_at: datetime | None = Field(
        default=None, description="When its webhook was accepted, by our own clock."
    )


class StatusOutcome(MessageReference):
    """A later status of a message, which the platform identifies by any of its ids."""

    type: Literal["status"] = "status"
    phone: str | None = Field(None, description="The peer, international digits.")
    task_id: str | None = None
    wa_message_id: str | None = None
    status: MessageStatus
    error: str | None = None
    code: str | None = Field(None, description="Why it failed, as a name.")


class ReactionOutcome(MessageReference):
    """A reaction to a message.

    A newer reaction of the same person replaces it; a reaction without `emoji` withdraws it.
    """

    type: Literal["reaction"] = "reaction"
    outgoing: bool = Field(
        description="True if the reaction was given on the organization's phone."
    )
    phone: str = Field(description="The peer, international digits.")
    emoji: str | None = None


class EditOutcome(MessageReference):
    """A message was edited: the row has the newest text, its metadata the first text."""

    type: Literal["edit"] = "edit"
    phone: str | None = Field(None, description="The peer, international digits.")
    text: str
    task_id: str | None = Field(
        default=None,
        description="The new id of a message that was deleted and sent anew to edit it.",
    )


class SessionOutcome(Outcome):
    """The session state of an account; `at` decides, so an older state never replaces a newer."""

    type: Literal["session"] = "session"
    account: str
    status: SessionStatus
    qr: str | None = None
    reason: str
    error: str | None = None


class LogOutcome(Outcome):
    """A webhook as posted, without media bodies, and its result."""

    type: Literal["log"] = "log"
    id: UUID
    account: str
    event_type: str
    payload: dict[str, Any]
    became: str
    error: str | None = None


UNRECOGNIZED_RESULTS = ("no_ids", "no_peer", "no_text", "unknown", "unknown_status")
"""What `LogOutcome.became` says of an event that the pipeline does not understand yet.

Its payload stays in the log, for a version that understands it. The SQL of the log has this list.
"""
BECAME_PROOF = "proof"
"""In the log: an echo that proved a message in doubt. It gets no row of its own."""


class DeadLetterOutcome(Outcome):
    """An event that ended without success, complete, so that it can be replayed."""

    type: Literal["dead_letter"] = "dead_letter"
    id: UUID
    organization_id: UUID | None = None
    account: str | None = None
    kind: str
    lane: str
    reason: str
    detail: str
    attempts: int
    accepted_at: datetime
    event: dict[str, Any]


AnyOutcome = Annotated[
    MessageOutcome
    | StatusOutcome
    | ReactionOutcome
    | EditOutcome
    | SessionOutcome
    | LogOutcome
    | DeadLetterOutcome,
    Field(discriminator="type"),
]


class SetAside(BaseModel):
    """An organization whose outcomes cannot be applied: they wait in Supabase, and are retried.

    `owner` is the id of the organization, or the account where no organization is known. `code` is
    the SQLSTATE, `waiting` the number of outcomes.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    owner: str
    code: str
    why: str
    retry_at: datetime
    since: datetime | None = None
    waiting: int = 0

"""A message as readers of the API see it, outgoing or incoming."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self, get_args
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError

from shared.outcomes import ContentType
from shared.stored_times import ClampedTime, StoredTime, read_time
from workers.ingress.messages.schemas import SendStatus

Direction = Literal["incoming", "outgoing"]
FileState = Literal["pending", "stored", "refused"]

PHONE = re.compile(r"[0-9]{5,15}")


class AttachedFile(BaseModel):
    """The file of a message."""

    name: str | None = None
    mime: str | None = Field(default=None, examples=["image/jpeg"])
    state: FileState | None = Field(
        default=None, description="`pending`: it is being fetched. `refused`: it cannot be had."
    )
    link: str = Field(description="Path that answers with a link to the file.")


class Reaction(BaseModel):
    """The reaction of a person to a message."""

    by: str = Field(description="The person's phone, or `self` for the organization's own phone.")
    emoji: str


class QuotedMessage(BaseModel):
    """The message that a message answers."""

    message_id: UUID | None = Field(default=None, description="Its id here, if it is known here.")
    external_id: str | None = Field(default=None, description="WhatsApp's id of it.")


class MessageItem(BaseModel):
    """A message of a conversation."""

    id: UUID
    direction: Direction
    phone: str | None = Field(
        default=None,
        description="The other end, international digits; absent while WhatsApp hides it.",
        examples=["79990001122"],
    )
    hidden_id: str | None = Field(
        default=None, description="WhatsApp's id of a person whose phone is not known."
    )
    client_id: UUID | None = None
    teacher_id: UUID | None = None
    integration_id: UUID | None = Field(default=None, description="The organization's number.")
    sender_name: str | None = None
    kind: ContentType = Field(description="What it is; a file may have a text beside it.")
    text: str
    file: AttachedFile | None = None
    status: SendStatus
    reason: str | None = Field(default=None, description="Why it failed or is unknown.")
    code: str | None = Field(default=None, description="Why it failed, as a name.")
    reactions: list[Reaction] = []
    reply_to: QuotedMessage | None = None
    is_edited: bool = False
    edited_at: StoredTime = None
    is_read: bool | None = Field(
        default=None, description="Of an incoming message: whether somebody has read it here."
    )
    created_at: ClampedTime
    send_at: StoredTime = Field(default=None, description="The date it was accepted for.")
    sent_at: StoredTime = None
    delivered_at: StoredTime = None
    read_at: StoredTime = Field(default=None, description="When the other end read it.")

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of `wpp_list_messages`. Users may have written any value into its metadata."""
        chat, phone = row.get("chat"), row.get("phone")
        digits = next((each for each in (phone, chat) if each and PHONE.fullmatch(each)), None)
        kind = row["kind"] if row["kind"] in get_args(ContentType) else "other"
        return cls.model_validate(
            {
                **row,
                "phone": digits,
                "hidden_id": chat if chat and chat.endswith("@lid") else None,
                "kind": kind,
                "text": row.get("text") or "",
                "status": _read_status(row),
                "file": _read_file(row),
                "reactions": _read_reactions(row.get("reactions")),
                "reply_to": _read_quoted(row.get("reply_id"), row.get("reply_to")),
                "is_edited": "edited_at" in row,
                "created_at": row.get("created_at"),
            }
        )


class MessagePage(BaseModel):
    """A page of messages."""

    items: list[MessageItem]
    next: str | None = Field(
        default=None, description="`cursor` of the next page; absent on the last page."
    )


def _read_status(row: Mapping[str, Any]) -> str:
    """Return the status; the CRM's own words, and a message that waits for its date, have a row."""
    status: str = {None: "sent", "noAccount": "failed"}.get(row.get("status")) or row["status"]
    if status == "failed" and row.get("code") == "cancelled":
        return "cancelled"
    send_at = read_time(row.get("send_at"))
    if status == "queued" and send_at and send_at > datetime.now(UTC):
        return "scheduled"
    return status


def _read_file(row: Mapping[str, Any]) -> dict[str, Any] | None:
    state = row.get("media_state") if row.get("media_state") in get_args(FileState) else None
    if not row["has_file"] and state is None:
        return None
    link = f"/v1/messages/{row['id']}/file"
    return {
        "name": row.get("file_name"),
        "mime": row.get("file_type"),
        "state": state,
        "link": link,
    }


def _read_quoted(message_id: str | None, external_id: str | None) -> QuotedMessage | None:
    if message_id is None and external_id is None:
        return None
    try:
        return QuotedMessage.model_validate({"message_id": message_id, "external_id": external_id})
    except ValidationError:  # a user has written any text
        return QuotedMessage(external_id=external_id) if external_id else None


def _read_reactions(stored: object) -> list[dict[str, str]]:
    if not isinstance(stored, dict):
        return []
    return [
        {"by": person, "emoji": given["emoji"]}
        for person, given in stored.items()
        if isinstance(given, dict) and isinstance(given.get("emoji"), str) and given["emoji"]
    ]

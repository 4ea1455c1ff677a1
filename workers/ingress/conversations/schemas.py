"""Response bodies of /v1/conversations."""

from collections.abc import Mapping
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from workers.ingress.messages.reading_schemas import MessageItem


class ConversationContact(BaseModel):
    """The person of the CRM that the phone belongs to."""

    client_id: UUID | None = None
    teacher_id: UUID | None = None
    name: str | None = None


class Conversation(BaseModel):
    """All messages with a phone."""

    phone: str | None = Field(
        default=None,
        description="International digits; absent while WhatsApp hides it.",
        examples=["79990001122"],
    )
    hidden_id: str | None = Field(
        default=None,
        description="WhatsApp's id of a person whose phone is not known: it stands for the phone "
        "in paths.",
        examples=["123456789012345@lid"],
    )
    contact: ConversationContact | None = None
    integration_id: UUID | None = Field(
        default=None, description="The organization's number that the last message went over."
    )
    unread: int = Field(description="Incoming messages that nobody has read here, 1000 at most.")
    last_message: MessageItem

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of `wpp_list_conversations`."""
        last = MessageItem.from_row(row["last_message"])
        has_contact = "client_id" in row or "teacher_id" in row
        return cls.model_validate(
            {
                **row,
                "phone": last.phone,
                "hidden_id": last.hidden_id,
                "contact": row if has_contact else None,
                "last_message": last,
            }
        )


class ConversationPage(BaseModel):
    """A page of conversations."""

    items: list[Conversation]
    next: str | None = Field(
        default=None, description="`cursor` of the next page; absent on the last page."
    )

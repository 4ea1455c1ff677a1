"""Request and response bodies of changes of messages."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from shared.events import MAX_TEXT_BYTES, MAX_TEXT_CHARS, StrictModel
from workers.ingress.messages.emojis import MAX_CHARS, check_emoji


def _check_text(text: str) -> str:
    if not text.strip():
        msg = "give a text; delete the message instead of emptying it"
        raise ValueError(msg)
    if len(text.encode(errors="replace")) > MAX_TEXT_BYTES:
        msg = f"a text has at most {MAX_TEXT_BYTES} bytes in UTF-8"
        raise ValueError(msg)
    return text


class MessageEdit(StrictModel):
    """The new text of a message, or the new caption of its file."""

    text: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_TEXT_CHARS),
        AfterValidator(_check_text),
    ] = Field(examples=["See you at six, not at five"])


class MessageReaction(StrictModel):
    """A reaction to a message."""

    emoji: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_CHARS), AfterValidator(check_emoji)
    ] = Field(description="Any single emoji.", examples=["👍"])


class MessageChange(BaseModel):
    """What became of a change of a message."""

    id: UUID = Field(description="Id of the message, which stays the same.")
    state: Literal["done", "waiting"] = Field(
        description="`waiting`: the change is kept, and follows when what is before it in its "
        "conversation is done, or when phone and platform are there again."
    )
    for_everyone: bool = Field(
        description="Whether the recipient sees the change. False: it was made in the CRM's row "
        "only, and `detail` says why; or it still waits."
    )
    detail: str = Field(
        description="What was done, for people.",
        examples=["Deleted and sent anew: the platform cannot edit a message."],
    )
    task_id: str | None = Field(
        default=None, description="The new id of an edited message at the platform."
    )


class MessageFile(BaseModel):
    """A link to the file of a message."""

    url: str = Field(
        description="Works without credentials, for `WPP_MEDIA_LINK_S` seconds where the bucket is "
        "private. Get a new one instead of storing it."
    )
    filename: str | None = None
    mime: str | None = None


class ReadConversation(BaseModel):
    """Messages that were marked as read."""

    phone: str = Field(description="The other end, in international digits.")
    marked: int = Field(description="How many messages were unread until now.")
    receipt_sent: Literal[False] = Field(
        default=False,
        description="Always false: the platform has no endpoint for WhatsApp's blue ticks, so the "
        "customer does not learn that their messages were read.",
    )

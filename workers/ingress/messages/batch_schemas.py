"""Request and response bodies of /v1/messages/batch."""

from collections.abc import Sequence
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from shared.events import Message, StrictModel
from workers.ingress.errors import Problem
from workers.ingress.messages.plans import MessagePlan
from workers.ingress.messages.schemas import SendStatus

MAX_MESSAGES = 1000

ItemKey = Annotated[
    str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+$")
]


class BatchMessage(Message):
    """A message of a batch."""

    idempotency_key: ItemKey | None = Field(
        default=None,
        description="As the header Idempotency-Key of a single message. Default: the batch's own "
        "Idempotency-Key with the place of the message in the batch.",
    )

    @property
    def message(self) -> Message:
        """The message itself: with the same key it is the same, sent alone or in a batch."""
        values = {name: getattr(self, name) for name in Message.model_fields}
        return Message.model_construct(**values)


def _keep_error(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Return a message, or what is wrong with it: the rest of its batch is accepted."""
    try:
        return validate(value)
    except ValidationError as error:
        return error


class MessageBatch(StrictModel):
    """Messages that are accepted or refused each by itself."""

    messages: list[Annotated[BatchMessage, WrapValidator(_keep_error)]] = Field(
        min_length=1, max_length=MAX_MESSAGES, description="In the order in which they are sent."
    )

    @property
    def items(self) -> Sequence[BatchMessage | ValidationError]:
        """The messages; in place of an invalid message its errors."""
        return self.messages


class BatchItem(BaseModel):
    """What became of a message of a batch: accepted with an `id`, or refused with an `error`."""

    id: UUID | None = Field(
        default=None, description="Id of the message, for `GET /v1/messages/{id}`."
    )
    status: SendStatus | None = Field(
        default=None,
        description="`queued` or `scheduled`; for a repeated message, its status so far.",
    )
    integration_id: UUID | None = Field(default=None, description="Integration that sends it.")
    replayed: bool = Field(
        default=False, description="Whether it was accepted by an earlier request."
    )
    error: Problem | None = Field(
        default=None,
        description="Why it was refused. Only an error of status 503 is worth a repetition.",
    )


class BatchAnswer(BaseModel):
    """What became of a batch."""

    accepted: int = Field(description="Number of messages that were accepted.")
    refused: int = Field(description="Number of messages that were not.")
    items: list[BatchItem] = Field(description="A result for each message, in their order.")

    @classmethod
    def summarize(cls, items: list[BatchItem]) -> Self:
        refused = sum(item.error is not None for item in items)
        return cls(accepted=len(items) - refused, refused=refused, items=items)


class PlannedItem(BaseModel):
    """What would become of a message of a batch: a `plan`, or an `error`."""

    plan: MessagePlan | None = None
    error: Problem | None = None


class BatchPlan(BaseModel):
    """What would become of a batch; nothing of it was accepted."""

    items: list[PlannedItem] = Field(description="A result for each message, in their order.")

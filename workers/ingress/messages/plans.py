"""Dry runs: what would become of a message, without accepting it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel, Field

from shared.events import utc_now
from shared.lanes import records
from shared.lanes.types import Append
from shared.outcomes import ContentType, MessageOutcome, Substitute
from shared.redis import keys
from workers.ingress.deps import AppState
from workers.ingress.messages import service
from workers.ingress.messages.preparation import Prepared
from workers.ingress.messages.schemas import SUBSTITUTES


class MessagePlan(BaseModel):
    """What would become of a valid message; nothing was accepted."""

    to: str = Field(description="Recipient's phone in international digits.")
    integration_id: UUID = Field(description="Integration that would send it.")
    kind: ContentType = Field(description="What would be sent.")
    substitutes: list[Substitute] = Field(default=[], description=SUBSTITUTES)
    send_at: datetime = Field(description="The earliest time at which it would be sent.")
    waits_for: str | None = Field(
        default=None,
        description="Why it would wait at present: the number or the platform is not available.",
    )
    repeats: UUID | None = Field(
        default=None,
        description="Id of the message that was accepted under the same idempotency key: the "
        "request would be a repetition.",
    )


async def plan_messages(prepared: Sequence[Prepared], state: AppState) -> list[MessagePlan]:
    """Return what would become of messages, in one round trip to Redis."""
    items = [each.build_described() for each in prepared]
    if not items:
        return []
    pipe = state.redis.pipeline(transaction=False)
    for item in items:
        pipe.exists(records.record_key(item.id))
        pipe.mget([keys.gate(gate) for gate in item.gates])
    replies: list[Any] = await pipe.execute()
    known, gates = replies[::2], replies[1::2]
    return [
        _build_plan(item, each, repeats=bool(known[place]), reasons=gates[place]).model_copy(
            update={"substitutes": await service.list_substitutes(item, state)}
        )
        for place, (item, each) in enumerate(zip(items, prepared, strict=True))
    ]


def _build_plan(
    item: Append, prepared: Prepared, *, repeats: bool, reasons: Sequence[bytes | None]
) -> MessagePlan:
    outcome = cast("MessageOutcome", item.outcomes[0])
    return MessagePlan(
        to=outcome.phone,
        integration_id=prepared.integration_id or UUID(int=0),
        kind=outcome.content,
        send_at=utc_now() + timedelta(seconds=item.delay_s),
        waits_for=next((reason.decode() for reason in reasons if reason), None),
        repeats=item.id if repeats else None,
    )

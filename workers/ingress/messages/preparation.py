"""Prepare messages for their lanes: their ids, their recipients, and the numbers that send them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi.exceptions import RequestValidationError

from shared import routing
from shared.errors import NotFoundError
from shared.events import Message
from shared.lanes import records
from shared.lanes.types import Append
from workers.ingress.deps import AppState
from workers.ingress.messages import recipients
from workers.ingress.messages.recipients import Destination
from workers.ingress.messages.references import NO_REFERENCES, References, find_references

ANY_PHONE = "79990000000"
"""Stands for the recipient of a message that is in its lane already: only its id counts."""


@dataclass(frozen=True)
class Prepared:
    """A valid message. `event_id` is None without an idempotency key.

    Without a `destination` it repeats an accepted message whose recipient or integration is gone.
    """

    organization_id: UUID
    message: Message
    event_id: UUID | None
    destination: Destination | None
    references: References = NO_REFERENCES

    @property
    def integration_id(self) -> UUID | None:
        return self.destination.route.id if self.destination else None

    def build_append(self) -> Append:
        """Return the append of the message."""
        is_plain = self.message.to is not None and routing.is_text(self.message)
        if self.destination is None or not is_plain:
            return self.build_described()
        return routing.route_text(
            self.organization_id,
            self.destination.route.id,
            self.message,
            self.event_id,
            phone=self.destination.phone,
        )

    def build_described(self) -> Append:
        """Return the append with the model of its row, which that of a text has as JSON only."""
        if self.destination is None:
            named = self.message.integration_id or UUID(int=0)
            return routing.route_send(
                self.organization_id,
                named,
                self.message,
                self.event_id,
                resolved=routing.Resolved(ANY_PHONE),
            )
        route = self.destination.route
        return routing.route_send(
            self.organization_id,
            route.id,
            self.message,
            self.event_id,
            route.region,
            routing.Resolved(self.destination.phone, self.references.media, self.references.reply),
        )


async def prepare_message(
    message: Message, organization_id: UUID, idempotency_key: str | None, state: AppState
) -> Prepared:
    """Prepare a message; a retry succeeds even if its recipient or its integration is gone by now.

    Raises: what `recipients.find_destination` raises.
    """
    event_id = await _find_event_id(organization_id, idempotency_key, state)
    try:
        to = await recipients.find_destination(message, organization_id, state)
        found = await find_references(message, to, organization_id, state)
        if isinstance(found, Exception):
            raise found
    except (NotFoundError, RequestValidationError):
        if event_id and await _find_accepted([event_id], state):
            return Prepared(organization_id, message, event_id, None)
        raise
    return Prepared(organization_id, message, event_id, *found)


async def prepare_messages(
    wanted: Sequence[tuple[Message, str | None]], organization_id: UUID, state: AppState
) -> list[Prepared | Exception]:
    """Prepare messages with their idempotency keys; return each, or what is wrong with it."""
    messages = [message for message, _ in wanted]
    ids = [await _find_event_id(organization_id, key, state) for _, key in wanted]
    found = [
        await find_references(message, each, organization_id, state)
        for message, each in zip(
            messages,
            await recipients.find_destinations(messages, organization_id, state),
            strict=True,
        )
    ]
    gone = [
        event_id
        for event_id, each in zip(ids, found, strict=True)
        if event_id and isinstance(each, NotFoundError | RequestValidationError)
    ]
    accepted = await _find_accepted(gone, state)
    return [
        Prepared(organization_id, message, event_id, *each)
        if isinstance(each, tuple)
        else Prepared(organization_id, message, event_id, None)
        if event_id in accepted
        else each
        for message, event_id, each in zip(messages, ids, found, strict=True)
    ]


async def _find_event_id(
    organization_id: UUID, idempotency_key: str | None, state: AppState
) -> UUID | None:
    """Return the id that a key stands for: the earlier id if that message was accepted."""
    if idempotency_key is None:
        return None
    previous = state.event_ids.make_previous(organization_id, idempotency_key)
    if previous and await state.redis.exists(records.record_key(previous)):
        return previous
    return state.event_ids.make(organization_id, idempotency_key)


async def _find_accepted(event_ids: Sequence[UUID], state: AppState) -> set[UUID | None]:
    """Return those ids that have a record."""
    if not event_ids:
        return set()
    pipe = state.redis.pipeline(transaction=False)
    for event_id in event_ids:
        pipe.exists(records.record_key(event_id))
    replies: list[Any] = await pipe.execute()
    return {event_id for event_id, known in zip(event_ids, replies, strict=True) if known}

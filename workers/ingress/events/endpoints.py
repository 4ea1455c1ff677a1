"""/v1/events: the events of an organization's messages and numbers as server-sent events."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from shared.errors import PipelineError
from shared.feed import EventFilter, EventId, Wanted, format_id, parse_id
from workers.ingress.deps import CallerDep, StateDep, in_loop
from workers.ingress.errors import RESPONSES
from workers.ingress.integrations.streaming import RETRY_MS, STREAM_POLL_S, STREAM_S, count_stream
from workers.ingress.notifications import EVERYTHING

router = APIRouter(prefix="/v1/events", tags=["events"], responses=RESPONSES)

RETRY_S = 3.0
"""How long a stream waits for Supabase before it reads again."""
AFTER = "Begin after this event. The header `Last-Event-ID` counts more."


@dataclass(frozen=True)
class StreamQuery:
    """What a stream begins with, and which events it has."""

    types: Annotated[
        list[Wanted],
        Query(
            alias="type",
            description="Only events of this type; may be given several times.",
            examples=["message.received", "number.*"],
        ),
    ] = ()  # type: ignore[assignment]
    integration_id: Annotated[
        UUID | None, Query(description="Only events of this number and its messages.")
    ] = None
    phone: Annotated[
        str | None,
        Query(pattern=r"^\+?[0-9]{5,15}$", description="Only messages with this phone."),
    ] = None
    after: Annotated[EventId | None, Query(description=AFTER, examples=["evt_1234"])] = None
    last_event_id: Annotated[
        EventId | None,
        Header(
            alias="Last-Event-ID",
            description="The last event that the client has; browsers send it when they reconnect.",
        ),
    ] = None

    @property
    def position(self) -> int | None:
        found = self.last_event_id or self.after
        return parse_id(found) if found else None

    @property
    def filter(self) -> EventFilter:
        integration_id = str(self.integration_id) if self.integration_id else ""
        return EventFilter(tuple(self.types), integration_id, (self.phone or "").removeprefix("+"))


@router.get(
    "",
    response_class=EventSourceResponse,
    dependencies=[Depends(count_stream)],
    summary="Stream events",
    operation_id="stream_events",
    response_description="The stream of server-sent events.",
)
async def stream_events(
    query: Annotated[StreamQuery, in_loop(StreamQuery)], caller: CallerDep, state: StateDep
) -> AsyncIterator[ServerSentEvent]:
    """Send what happens to messages and numbers, each as an event with its id and type.

    An event is JSON: `id`, `type`, `timestamp`, `data`. A stream begins with the next event, or
    after the event that `Last-Event-ID` or `after` names: then nothing is missed, and nothing comes
    twice. Events are kept for a week. A stream that begins before sends an event of type `reset`
    first, then the oldest event that is left: read the present state again. `after=evt_0` begins
    with the oldest.

    The stream ends after ten minutes or when the server stops, and within a minute after its
    credentials have ended: open it again. Too many streams are refused with 429.
    """
    yield ServerSentEvent(retry=RETRY_MS)
    until = time.monotonic() + STREAM_S
    position, changed, wanted = query.position, True, query.filter
    sent = position
    async with (
        state.notifications.subscribe(caller.organization_id, EVERYTHING) as subscription,
        state.feeds.open(caller.organization_id) as feed,
    ):
        while time.monotonic() < until and not subscription.closing:
            if not await state.callers.is_valid(caller):
                return
            try:
                if position is None:
                    position = sent = await feed.find_end()
                    yield ServerSentEvent(id=format_id(sent), comment="begins after")
                page = await feed.read_after(position, changed=changed)
            except PipelineError:  # Supabase does not answer
                await subscription.wait(RETRY_S)
                changed = True
                continue
            if page.is_gap_after(position):
                yield ServerSentEvent(event="reset", data={"after": format_id(position)})
            for event in filter(wanted.allows, page.events):
                yield ServerSentEvent(
                    id=format_id(event.id), event=event.type, raw_data=event.json_text
                )
                sent = event.id
            position = page.last
            if sent != position:  # the client does not want the last ones: it resumes after them
                yield ServerSentEvent(id=format_id(position), comment="nothing until")
                sent = position
            pause_s = min(STREAM_POLL_S, state.limits.wpp_session_check_s, caller.lifetime_s)
            changed = page.more or await subscription.wait(pause_s)

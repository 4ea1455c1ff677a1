"""GET /v1/messages: what was sent and what arrived, page by page."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError

from shared.outcomes import ContentType, MessageStatus
from shared.phones import DEFAULT_REGION, normalize
from workers.ingress.deps import AppState, OrganizationId, StateDep, in_loop
from workers.ingress.errors import RESPONSES
from workers.ingress.messages import senders
from workers.ingress.messages.reading_schemas import Direction, MessageItem, MessagePage
from workers.ingress.paging import PageCursor, PageLimit, read_stored_cursor, write_cursor

router = APIRouter(prefix="/v1/messages", tags=["messages"], responses=RESPONSES)

Order = Literal["asc", "desc"]
OrderQuery = Annotated[Order, Query(description="`desc`: newest first. `asc`: oldest first.")]
SinceTime = Annotated[
    datetime | None,
    Query(description="Only messages from this time on.", examples=["2026-11-29T12:00:00Z"]),
]
UntilTime = Annotated[datetime | None, Query(description="Only messages before this time.")]


@dataclass(frozen=True)
class MessageFilters:
    """Which messages to list: all given conditions hold."""

    phone: Annotated[
        str | None, Query(max_length=64, description="The other end, in any usual form.")
    ] = None
    client_id: Annotated[
        UUID | None, Query(description="A client, with all phones that they write from.")
    ] = None
    teacher_id: Annotated[UUID | None, Query(description="A teacher.")] = None
    integration_id: Annotated[UUID | None, Query(description="The organization's number.")] = None
    direction: Annotated[
        Direction | None, Query(description="`incoming`: written by the other end.")
    ] = None
    status: Annotated[
        MessageStatus | None,
        Query(description="The present status; `scheduled` is queued, `cancelled` is failed."),
    ] = None
    kind: Annotated[ContentType | None, Query(description="What the message is.")] = None
    since: SinceTime = None
    until: UntilTime = None

    def as_conditions(self) -> dict[str, Any]:
        """Return the conditions that need no look-up, as `wpp_list_messages` takes them."""
        given = {
            "client_id": self.client_id,
            "teacher_id": self.teacher_id,
            "integration_id": self.integration_id,
            "status": self.status,
            "kind": self.kind,
            "since": self.since and _with_zone(self.since).isoformat(),
            "until": self.until and _with_zone(self.until).isoformat(),
        }
        found = {name: str(value) for name, value in given.items() if value is not None}
        return found | ({"outgoing": self.direction == "outgoing"} if self.direction else {})


FiltersDep = Annotated[MessageFilters, in_loop(MessageFilters)]


@dataclass(frozen=True)
class PageRequest:
    """Which page of a list, and in which order."""

    order: OrderQuery = "desc"
    cursor: PageCursor = None
    limit: PageLimit = 50


PageDep = Annotated[PageRequest, in_loop(PageRequest)]


@router.get(
    "",
    summary="List messages",
    operation_id="list_messages",
    response_description="A page of messages.",
)
async def list_messages(
    filters: FiltersDep, page: PageDep, organization_id: OrganizationId, state: StateDep
) -> MessagePage:
    """List the organization's messages of WhatsApp, those that arrived too, newest first.

    A message that comes meanwhile changes no later page. A phone without messages has an empty
    list.
    """
    conditions = filters.as_conditions()
    if filters.phone:
        phone = await read_phone(filters.phone, ("query", "phone"), organization_id, state)
        conditions |= await find_chat(phone, state)
    return await read_page(organization_id, conditions, page, state)


async def read_page(
    organization_id: UUID, conditions: Mapping[str, Any], page: PageRequest, state: AppState
) -> MessagePage:
    """Return a page of messages; raises RequestValidationError for a foreign cursor."""
    found = read_stored_cursor(page.order, page.cursor)
    after = (found[0], str(_read_id(found[1]))) if found else None
    rows = await run_in_threadpool(
        state.database.reading.list_messages,
        organization_id,
        conditions,
        after,
        ascending=page.order == "asc",
        limit=page.limit + 1,
    )
    shown = rows[: page.limit]
    place = (shown[-1].get("created_at"), shown[-1]["id"]) if len(rows) > page.limit else None
    return MessagePage(
        items=[MessageItem.from_row(row) for row in shown],
        next=write_cursor(page.order, place) if place else None,
    )


async def find_chat(phone: str, state: AppState) -> dict[str, str]:
    """Return the conditions that leave the conversation of a phone or a hidden id."""
    chat = await run_in_threadpool(state.database.reading.find_chat, phone)
    return {"chat": chat} if phone.endswith("@lid") else {"chat": chat, "phone": phone}


async def read_phone(
    given: str, where: tuple[str, str], organization_id: UUID, state: AppState
) -> str:
    """Return a phone as digits, read in the organization's region, or a hidden id as it is.

    Raises:
        RequestValidationError: it is neither.
    """
    user, _, server = given.partition("@")
    if server == "lid" and user.isascii() and user.isdecimal():
        return given
    route = await senders.find_primary(organization_id, state)
    try:
        return normalize(given, route.region if route else DEFAULT_REGION)
    except ValueError as error:
        fault = {"type": "value_error", "loc": where, "msg": str(error)}
        raise RequestValidationError([fault]) from None


def _read_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        message = "it is no `next` of this list"
        fault = {"type": "cursor", "loc": ("query", "cursor"), "msg": message}
        raise RequestValidationError([fault]) from None


def _with_zone(time: datetime) -> datetime:
    """Return a time that has a zone: UTC where none was given."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)

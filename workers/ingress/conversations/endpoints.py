"""/v1/conversations: the phones that messages went to and came from, and their messages."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.concurrency import run_in_threadpool

from workers.ingress.conversations.schemas import Conversation, ConversationPage
from workers.ingress.deps import OrganizationId, StateDep
from workers.ingress.errors import RESPONSES
from workers.ingress.messages.reading import PageDep, find_chat, read_page, read_phone
from workers.ingress.messages.reading_schemas import MessagePage
from workers.ingress.paging import PageCursor, PageLimit, read_stored_cursor, write_cursor

router = APIRouter(prefix="/v1/conversations", tags=["messages"], responses=RESPONSES)
ORDER = "newest"


@router.get(
    "",
    summary="List conversations",
    operation_id="list_conversations",
    response_description="A page of conversations.",
)
async def list_conversations(
    organization_id: OrganizationId,
    state: StateDep,
    cursor: PageCursor = None,
    limit: PageLimit = 50,
) -> ConversationPage:
    """List a conversation for each phone, the one with the newest message first.

    A conversation in which a message comes meanwhile moves to the front: read the first page again.
    """
    after = read_stored_cursor(ORDER, cursor)
    rows = await run_in_threadpool(
        state.database.reading.list_conversations, organization_id, after, limit + 1
    )
    shown = rows[:limit]
    return ConversationPage(
        items=[Conversation.from_row(row) for row in shown if "last_message" in row],
        next=write_cursor(ORDER, shown[-1]["place"]) if len(rows) > limit else None,
    )


@router.get(
    "/{phone}/messages",
    summary="List the messages of a conversation",
    operation_id="list_conversation_messages",
    response_description="A page of messages.",
)
async def list_conversation_messages(
    phone: Annotated[
        str,
        Path(max_length=64, description="Phone of the other end, in any form, or a hidden id."),
    ],
    page: PageDep,
    organization_id: OrganizationId,
    state: StateDep,
) -> MessagePage:
    """List the messages with a phone, newest first.

    A number without country code is one of the organization's region. A phone without messages has
    an empty list. Messages from before this server are known by their client.
    """
    found = await read_phone(phone, ("path", "phone"), organization_id, state)
    return await read_page(organization_id, await find_chat(found, state), page, state)

"""What a message names by an id besides its recipient: its file, and what it answers."""

from typing import NamedTuple
from uuid import UUID

from shared.events import Message, Reply, SentMedia
from workers.ingress.deps import AppState
from workers.ingress.messages.recipients import Destination
from workers.ingress.messages.replies import find_reply
from workers.ingress.messages.uploads import find_upload


class References(NamedTuple):
    """What was found by the ids in a message."""

    reply: Reply | None = None
    media: SentMedia | None = None


NO_REFERENCES = References()


async def find_references(
    message: Message, to: Destination | Exception, organization_id: UUID, state: AppState
) -> tuple[Destination, References] | Exception:
    """Return where a message goes with what it refers to, or why it cannot go."""
    if isinstance(to, Exception):
        return to
    try:
        reply = await find_reply(message, to, organization_id, state)
        media = await find_upload(message, organization_id, state)
    except Exception as error:  # noqa: BLE001 - the answer to this message
        return error
    return to, References(reply, media)

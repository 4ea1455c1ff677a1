"""Pages of messages and of conversations, as a reader of the API sees them."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from shared.database.connection import Connection

Page = list[dict[str, Any]]


class Reading:
    """The messages of WhatsApp of all organizations, also those that arrived."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list_messages(
        self,
        organization_id: UUID,
        filters: Mapping[str, Any],
        after: Sequence[str | None] | None,
        *,
        ascending: bool,
        limit: int,
    ) -> Page:
        """Return a page of an organization's messages.

        `filters` as in `wpp_list_messages`. `after`: created_at and id of the last one before.
        """
        return self._connection.call(
            "wpp_list_messages",
            Page,
            organization=str(organization_id),
            filters=dict(filters),
            after=list(after) if after else None,
            ascending=ascending,
            max_rows=limit,
        )

    def list_conversations(
        self, organization_id: UUID, after: Sequence[str | None] | None, limit: int
    ) -> Page:
        """Return a page of an organization's conversations, that of the newest message first.

        `after`: the `place` of the last one before. One without a message left has no
        `last_message`.
        """
        return self._connection.call(
            "wpp_list_conversations",
            Page,
            organization=str(organization_id),
            after=list(after) if after else None,
            max_rows=limit,
        )

    def find_chat(self, phone: str) -> str:
        """Return the conversation of a phone (digits) or of a hidden id (`<digits>@lid`)."""
        return self._connection.call("wpp_find_chat", str, phone=phone)

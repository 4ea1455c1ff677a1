"""Messages of the API, of the phone and of customers; an API message progresses by itself."""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from sandbox.platform.accounts import Account
from sandbox.platform.faults import Faults
from sandbox.platform.settings import Settings
from sandbox.platform.store import Store

MESSAGE, LEDGER_START = "message", "ledger_start"

Status = Literal["queued", "sent", "delivered", "read", "deleted", "dead"]
NEXT: dict[Status, Status] = {"queued": "sent", "sent": "delivered", "delivered": "read"}


@dataclass
class Message:
    session: str
    peer: str
    """Digits of the customer's number."""
    direction: Literal["api", "echo", "in"]
    type: str
    text: str = ""
    media: dict[str, Any] | None = None
    name: str | None = None
    status: Status = "queued"
    reaction: str | None = None
    at: float = field(default_factory=time.time)
    task_id: str = field(default_factory=lambda: f"task_{secrets.token_hex(8)}")
    wa_id: str = ""

    def __post_init__(self) -> None:
        own = "false" if self.direction == "in" else "true"
        self.wa_id = self.wa_id or f"{own}_{self.peer}@c.us_3EB0{secrets.token_hex(8).upper()}"


class Messages:
    """All messages, in the order in which they were accepted.

    `announce(event, message)` is called with `sent`, `dead`, `status` and `conversation`.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        faults: Faults,
        announce: Callable[[str, Message], None],
    ) -> None:
        self._store = store
        self._faults = faults
        self._announce = announce
        self._delays_s = {
            "queued": settings.sent_s,
            "sent": settings.delivered_s,
            "delivered": settings.read_s,
        }
        self._all = [Message(**body) for _, body in store.all(MESSAGE)]
        self._by_task = {message.task_id: message for message in self._all}
        self._by_wa = {(message.session, message.wa_id): message for message in self._all}
        self._ledger_start: int = dict(store.all(LEDGER_START)).get("messages", 0)
        self._closed = False

    def resume(self, accounts: dict[str, Account]) -> None:
        """Continue after a restart with messages that are not read yet."""
        for message in self._all:
            if message.direction == "api" and message.status in NEXT:
                self._schedule(message, accounts[message.session])

    def send(self, account: Account, message: Message) -> None:
        """Accept a message of the API and schedule its next step."""
        self._add(message)
        self._schedule(message, account)

    def arrive(self, message: Message) -> None:
        """Add a customer's message, or a message written on the phone."""
        message.status = "read" if message.direction == "in" else "delivered"
        self._add(message)
        self._announce("conversation", message)

    def delete(self, message: Message) -> None:
        message.status = "deleted"
        self.save(message)
        self._announce("status", message)

    def find_sent(self, session: str, task_id: str) -> Message | None:
        """Return the account's message of the API, unless it is deleted."""
        message = self._by_task.get(task_id)
        known = (
            message
            and message.session == session
            and message.direction == "api"
            and message.status != "deleted"
        )
        return message if known else None

    def find_by_wa_id(self, session: str, wa_id: str) -> Message | None:
        return self._by_wa.get((session, wa_id))

    def of(self, session: str) -> list[Message]:
        return [message for message in self._all if message.session == session]

    def ledger(self) -> list[dict[str, Any]]:
        """Return what the API accepted since the ledger was last cleared, in order."""
        since = (
            message for message in self._all[self._ledger_start :] if message.direction == "api"
        )
        return [describe(message) for message in since]

    def close(self) -> None:
        """Take no further step: the loop ends, and `resume` goes on in the next one."""
        self._closed = True

    def clear_ledger(self) -> None:
        self._ledger_start = len(self._all)
        self._store.put(LEDGER_START, "messages", self._ledger_start)

    def save(self, message: Message) -> None:
        self._store.put(MESSAGE, message.task_id, vars(message))

    def _add(self, message: Message) -> None:
        self._all.append(message)
        self._by_task[message.task_id] = message
        self._by_wa[message.session, message.wa_id] = message
        self.save(message)

    def _schedule(self, message: Message, account: Account) -> None:
        delay_s = self._delays_s[message.status]
        asyncio.get_running_loop().call_later(delay_s, self._advance, message, account)

    def _advance(self, message: Message, account: Account) -> None:
        """Take the next step; an offline phone or a dead recipient makes the message dead."""
        if self._closed or message.status not in NEXT:
            return
        lost = account.status != "connected" or message.peer in self._faults.plan.dead_recipients
        if message.status == "queued" and lost:
            message.status, event = "dead", "dead"
        else:
            event = "sent" if message.status == "queued" else "status"
            message.status = NEXT[message.status]
            self._schedule_next(message, account)
        self.save(message)
        self._announce(event, message)

    def _schedule_next(self, message: Message, account: Account) -> None:
        if message.status in NEXT:
            self._schedule(message, account)


def describe(message: Message) -> dict[str, Any]:
    """Return a message in the names of the API, without the bytes of its media."""
    media = (
        {key: value for key, value in message.media.items() if key != "base64"}
        if message.media
        else None
    )
    return {
        "taskId": message.task_id,
        "waMessageId": message.wa_id,
        "session": message.session,
        "to" if message.direction != "in" else "from": message.peer,
        "direction": message.direction,
        "type": message.type,
        "text": message.text,
        "media": media,
        "status": message.status,
        "reaction": message.reaction,
        "at": message.at,
    }

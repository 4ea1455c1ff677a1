"""Outcomes of life-cycles: a message of our own with its reports, and an answer that arrives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from shared.events import utc_now
from shared.outcomes import LogOutcome, MessageOutcome, MessageStatus, Outcome, StatusOutcome

Rows = list[dict[str, Any]]
REPORTS: tuple[MessageStatus, ...] = ("sent", "delivered", "read")
OUTCOMES = 1 + 2 * len(REPORTS) + 2
"""Of a life-cycle: the message, a report and its log entry for each status, the answer with its
log entry."""
WAVE = 100
"""Life-cycles that advance together: the steps of one are seconds apart, in different batches."""


@dataclass(frozen=True)
class Number:
    """A connected number, and how many people write with it."""

    organization: UUID
    integration: UUID
    account: str
    people: int
    first_person: int = 0

    def phone(self, index: int) -> str:
        """Return a person's phone; neighbouring indexes are far apart in tables."""
        return f"7999{self.first_person + index * 7919 % self.people:07}"


def make_rows(number: Number, life_cycles: int) -> Iterator[Rows]:
    """Return the outcomes of life-cycles in waves, each as the recorder reads them."""
    for start in range(0, life_cycles, WAVE):
        wave = [
            _LifeCycle(number, number.phone(index))
            for index in range(start, min(start + WAVE, life_cycles))
        ]
        steps: list[Sequence[Outcome]] = [[each.message] for each in wave]
        for status in REPORTS:
            steps += [each.report(status) for each in wave]
        steps += [each.answer() for each in wave]
        yield [
            outcome.model_dump(mode="json", exclude_none=True) for step in steps for outcome in step
        ]


class _LifeCycle:
    def __init__(self, number: Number, phone: str) -> None:
        self._number = number
        self._phone = phone
        self._began = utc_now()
        self._id = uuid4()
        self._wa_key = uuid4().hex[:20].upper()

    @property
    def message(self) -> MessageOutcome:
        return MessageOutcome(
            at=self._began,
            id=self._id,
            organization_id=self._number.organization,
            integration_id=self._number.integration,
            outgoing=True,
            phone=self._phone,
            text="Hello, this is your appointment tomorrow at 10:30.",
            status="sent",
            task_id=f"task-{self._id.hex}",
            attempt=1,
            started_at=self._began,
        )

    def report(self, status: MessageStatus) -> Sequence[Outcome]:
        at = self._began + timedelta(seconds=1 + REPORTS.index(status))
        wa_id = f"true_{self._phone}@c.us_3EB0{self._wa_key}"
        task = f"task-{self._id.hex}"
        outcome = StatusOutcome(
            at=at,
            arrived_at=at,
            account=self._number.account,
            external_ids=[task, wa_id],
            task_id=task,
            wa_message_id=wa_id,
            status=status,
        )
        payload = {"type": "ack", "ack": status, "taskId": task, "messageId": wa_id}
        return [outcome, self._log(at, "message_ack", payload, "status")]

    def answer(self) -> Sequence[Outcome]:
        at = self._began + timedelta(seconds=9)
        wa_id = f"false_{self._phone}@c.us_3A{self._wa_key}"
        text = "Good morning! When is the next lesson, please?"
        message = MessageOutcome(
            at=at,
            arrived_at=at,
            id=uuid4(),
            account=self._number.account,
            outgoing=False,
            phone=self._phone,
            peer_name="Anna",
            text=text,
            status="delivered",
            wa_message_id=wa_id,
        )
        payload = {"type": "chat", "from": f"+{self._phone}", "text": text, "messageId": wa_id}
        return [message, self._log(at, "chat", payload, "message")]

    def _log(
        self, at: datetime, event_type: str, payload: dict[str, Any], became: str
    ) -> LogOutcome:
        return LogOutcome(
            at=at,
            id=uuid4(),
            account=self._number.account,
            event_type=event_type,
            payload={"account": self._number.account, "session": "main", **payload},
            became=became,
        )

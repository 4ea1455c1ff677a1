"""After a restore: brings what Redis and Supabase know of messages together again.

A Redis of an hour ago would send once more what it sent since. Here each message is looked up on
both sides, and the side that knows more counts. What neither knows becomes `unknown`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from uuid import UUID

import redis
from pydantic import ValidationError

from shared import processes, routing
from shared.database import Database
from shared.database.models import StoredMessage
from shared.errors import PipelineError
from shared.events import ChangeEvent, SendEvent, is_change, utc_now
from shared.lanes.client import Lanes
from shared.lanes.records import Record, record_key, scan_records
from shared.lanes.types import Settled, State
from shared.outbox import Outbox
from shared.outcomes import MessageOutcome, MessageStatus
from shared.shards import EVERYTHING, ShardPart
from workers.send.changes import settle_in_doubt

RESTORED = "Redis was restored from a backup: it may have gone out since"
LOST = "Redis lost it: it may have gone out"
STATES: dict[MessageStatus, State] = {
    "sent": "sent",
    "delivered": "sent",
    "read": "sent",
    "deleted": "cancelled",
    "failed": "failed",
    "unknown": "unknown",
    "queued": "unknown",
}
"""State of a record, by the status of its row."""
STATUSES: dict[State, MessageStatus] = {
    "sent": "sent",
    "failed": "failed",
    "cancelled": "failed",
    "unknown": "unknown",
}
"""Status of a row, by the state of its record."""
BATCH = 100
STOPPED_ROLES = ("send", processes.CLOCK)
OPEN: frozenset[State] = frozenset({"scheduled", "queued", "claimed"})


class StillRunningError(PipelineError):
    """Processes run that send: they would work on what is to be settled."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"stop the processes that send, and the clock, first: {', '.join(names)}")


@dataclass
class Reconciler:
    """Counts what it finds, and changes it with `apply`."""

    client: "redis.Redis"
    lanes: Lanes
    database: Database
    apply: bool = False
    part: ShardPart = EVERYTHING
    """The organizations of the shard."""
    counts: Counter[str] = field(default_factory=Counter)

    def require_stopped(self) -> None:
        """Raise StillRunningError where a process runs that sends."""
        at_ms = processes.now_ms(self.client)
        running = [
            each.name
            for each in processes.list_processes(self.client, at_ms)
            if each.silent_s(at_ms) <= processes.SILENT_S and set(each.roles) & set(STOPPED_ROLES)
        ]
        if running:
            raise StillRunningError(running)

    def follow_supabase(self, since: datetime, *, hold: bool = True) -> None:
        """Bring a Redis that was restored, or is empty, to what Supabase knows.

        `hold`: what waits in both becomes unknown. `since` bounds the rows that are recalled.
        """
        for batch in scan_records(self.client, "send"):
            rows = self.database.messages.find_all([record.id for record in batch])
            for record in batch:
                self._follow_row(record, rows.get(record.id), hold=hold)
        rows_since = self.database.messages.iterate_sent(since)
        while sent := list(islice(rows_since, BATCH)):
            self._recall(sent)

    def follow_redis(self) -> None:
        """Bring a Supabase that was restored to what Redis knows."""
        for batch in scan_records(self.client, "send"):
            rows = self.database.messages.find_all([record.id for record in batch])
            found = [self._describe(record, rows.get(record.id)) for record in batch]
            outcomes = [each for each in found if each]
            if self.apply and outcomes:
                Outbox(self.client).add(outcomes)

    def _follow_row(self, record: Record, row: StoredMessage | None, *, hold: bool) -> None:
        if record.body is None:
            return
        if is_change(record.body):
            if record.state in OPEN:
                self._end_change(record, hold=hold)
        elif row and row.status != "queued":
            self._settle(record, _settle_by(row))
        elif record.state == "scheduled" and record.send_at and record.send_at > utc_now():
            self.counts["scheduled"] += 1
        elif record.state in OPEN and hold:
            self._settle(record, _settle_as_unknown(record))
        else:
            self.counts["waiting"] += record.state in OPEN

    def _end_change(self, record: Record, *, hold: bool) -> None:
        """End an edit: its new text may have gone out. A deletion or a reaction may be repeated."""
        try:
            is_edit = ChangeEvent.model_validate_json(record.body or b"").action == "edit"
        except ValidationError:
            is_edit = True
        if is_edit and hold:
            self._settle(record, settle_in_doubt(RESTORED))
        else:
            self.counts["waiting"] += 1

    def _settle(self, record: Record, end: Settled) -> None:
        if record.state == end.state:  # unknown, and still so
            return
        self.counts[end.state] += 1
        if self.apply and record.state == "unknown":
            self.lanes.resolve(record.id, end)
        elif self.apply:
            self.lanes.reconcile(record.id, end)

    def _recall(self, rows: Sequence[StoredMessage]) -> None:
        """Take the ids of messages that Redis does not know; those that waited become unknown."""
        known = self._find_known(rows)
        missing = (row for row in rows if row.id not in known)
        gone = [row for row in missing if self.part.has(row.organization_id)]
        waited = [row for row in gone if row.status == "queued"]
        self.counts["recalled"] += len(gone)
        self.counts["lost"] += len(waited)
        if self.apply and gone:
            self.lanes.recall(
                (row.id, STATES[row.status], str(row.organization_id), row.created_at)
                for row in gone
            )
            Outbox(self.client).add([_describe_row(row, "unknown", LOST) for row in waited])

    def _find_known(self, rows: Sequence[StoredMessage]) -> set[UUID]:
        pipe = self.client.pipeline(transaction=False)
        for row in rows:
            pipe.exists(record_key(row.id))
        return {row.id for row, exists in zip(rows, pipe.execute(), strict=True) if exists}

    def _describe(self, record: Record, row: StoredMessage | None) -> MessageOutcome | None:
        """Return the outcome that brings a row to its record; None where nothing is missing."""
        if record.body and is_change(record.body):
            return None
        status = STATUSES.get(record.state, "queued")
        if row:
            if row.status != "queued" or status == "queued":
                return None
            self.counts[record.state] += 1
            return _describe_row(row, status, record.reason)
        try:
            event = SendEvent.model_validate_json(record.body or b"")
        except ValidationError:  # it is settled: only Supabase had its words
            self.counts["missing"] += 1
            return None
        self.counts["rows"] += 1
        return routing.build_message_outcome(event, status, event.accepted_at)


def _settle_by(row: StoredMessage) -> Settled:
    fields = {"reason": "settled by its row in Supabase"}
    if row.external_message_id:
        fields["task_id"] = row.external_message_id
    return Settled(STATES[row.status], fields=fields)


def _settle_as_unknown(record: Record) -> Settled:
    try:
        event = SendEvent.model_validate_json(record.body or b"")
    except ValidationError:
        return Settled("unknown", fields={"reason": RESTORED})
    outcome = routing.build_message_outcome(event, "unknown", utc_now(), error=RESTORED)
    return Settled("unknown", [outcome], {"reason": RESTORED})


def _describe_row(row: StoredMessage, status: MessageStatus, why: str | None) -> MessageOutcome:
    return MessageOutcome(
        at=utc_now(),
        id=row.id,
        organization_id=row.organization_id,
        integration_id=row.integration_id,
        outgoing=True,
        phone=str(row.metadata.get("phone") or ""),
        text=row.text,
        status=status,
        error=why if status in {"failed", "unknown"} else None,
    )

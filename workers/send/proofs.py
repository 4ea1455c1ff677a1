"""Read what may settle messages of unknown delivery: parked reports, and the messages' records."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from shared.database.models import Evidence, OrphanReport, UnnamedMessage
from shared.lanes.records import Record
from workers.send.matching import (
    Attempt,
    Orphan,
    Proof,
    Report,
    find_owners,
    group_reports,
    match_orphans,
)

LOOK_BACK = timedelta(days=3)
"""How old messages and reports are considered."""
FindRecords = Callable[[Iterable[UUID]], Mapping[UUID, Record]]

_WHATSAPP_ID = re.compile(r"(?:true|false)_|.*@|[0-9A-F]{16,}$")
_INCOMING = re.compile(r"false_")
_OUTGOING = re.compile(r"true_([1-9][0-9]{6,14})(?::[0-9]+)?@(?:c\.us|s\.whatsapp\.net)_")
_IN_DOUBT = frozenset({"queued", "claimed", "unknown", "sent"})


def find_proofs(evidence: Evidence, find_records: FindRecords) -> list[Proof]:
    """Return the messages of unknown delivery that the reports of their account prove."""
    return [
        proof
        for attempts, orphans in _by_account(evidence, find_records)
        for proof in match_orphans(attempts, orphans)
    ]


def find_claimants(evidence: Evidence, find_records: FindRecords) -> dict[UUID, list[Orphan]]:
    """Return for each message of unknown delivery the orphans that may be its reports."""
    claimants: dict[UUID, list[Orphan]] = defaultdict(list)
    for attempts, orphans in _by_account(evidence, find_records):
        for orphan in orphans:
            for attempt in find_owners(orphan, attempts):
                if attempt.is_unknown:
                    claimants[attempt.id].append(orphan)
    return claimants


def _by_account(
    evidence: Evidence, find_records: FindRecords
) -> Iterator[tuple[Sequence[Attempt], Sequence[Orphan]]]:
    records = find_records([message.id for message in evidence.messages])
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    for message in evidence.messages:
        if attempt := build_attempt(message, records.get(message.id)):
            attempts[message.account].append(attempt)
    reports: dict[str, list[Report]] = defaultdict(list)
    for each in evidence.reports:
        if report := build_report(each):
            reports[each.account].append(report)
    for account, found in reports.items():
        yield attempts[account], group_reports(found)


def build_attempt(message: UnnamedMessage, record: Record | None) -> Attempt | None:
    """Return the attempt of a message that a report may be about, or None if it never began.

    Without a record it may be any time since its row: it is nothing that can be settled.
    """
    began, ended = message.created_at, None
    lacks_task_id = message.lacks_task_id
    if record:
        if record.state not in _IN_DOUBT or (record.state == "queued" and not record.attempts):
            return None
        began = record.claimed if record.claimed and not record.resends else record.accepted
        ended = record.settled if record.state in ("unknown", "sent") else None
        lacks_task_id = lacks_task_id and record.task_id is None
    return Attempt(
        id=message.id,
        phone=message.phone,
        began=began,
        ended=ended,
        is_unknown=record is not None and record.state == "unknown",
        lacks_task_id=lacks_task_id,
        lacks_wa_message_id=message.lacks_wa_message_id,
        went_out_again=bool(record and record.resends),
    )


def build_report(row: OrphanReport) -> Report | None:
    """Return a report that may be about a message of ours, or None: it is about an incoming one."""
    ids = dict.fromkeys(filter(None, (row.task_id, row.wa_message_id, *row.external_ids)))
    whatsapp = [name for name in ids if name != row.task_id and _WHATSAPP_ID.match(name)]
    if any(_INCOMING.match(name) for name in whatsapp):
        return None
    peer = next((found[1] for name in whatsapp if (found := _OUTGOING.match(name))), None)
    tasks = [name for name in ids if name not in whatsapp]
    return Report(
        ids=frozenset(ids),
        task_id=tasks[0] if tasks else None,
        wa_message_id=whatsapp[0] if whatsapp else None,
        peer=peer,
        is_sent=row.status == "sent",
        arrived_at=row.arrived_at,
    )

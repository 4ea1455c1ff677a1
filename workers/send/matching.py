"""Match reports that name no message with the messages of unknown delivery that they prove.

A report is an orphan when no message of ours has its ids. It belongs to an attempt whose reply was
lost, so that its ids were never learned. An attempt is proven by elimination only: by an orphan
that can belong to no further attempt. It cannot belong to

- an attempt that began after the report had arrived, both by our own clocks,
- an attempt to a different person, where WhatsApp's id names the person,
- an attempt that ended over `MAX_QUEUED` before the platform reported the sending,
- an attempt whose id of this kind is known.

What may also be its owner, though it is not to be settled (a message in work, a message that has
no WhatsApp id yet), counts as an attempt. Two orphans that both can belong to a single attempt only
contradict each other: neither proves it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from shared.numbering import is_same_line

MAX_QUEUED = timedelta(hours=1)
"""How long the platform queues a message at most before it reports it as sent."""
CLOCK_SKEW = timedelta(seconds=2)
"""How far the clocks of our own machines differ at most."""
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Report:
    """A status report that names no message of ours."""

    ids: frozenset[str]
    task_id: str | None
    wa_message_id: str | None
    peer: str | None
    """The phone that WhatsApp's id names."""
    is_sent: bool
    arrived_at: datetime


@dataclass(frozen=True)
class Attempt:
    """A message that a report may be about. `ended` is None while it is in work."""

    id: UUID
    phone: str
    began: datetime
    ended: datetime | None
    is_unknown: bool
    lacks_task_id: bool
    lacks_wa_message_id: bool
    went_out_again: bool = False
    """The platform may have several messages of it."""


@dataclass
class Orphan:
    """The reports of a message at the platform."""

    ids: set[str] = field(default_factory=set)
    task_id: str | None = None
    wa_message_id: str | None = None
    peer: str | None = None
    first_arrived: datetime = NEVER
    sent_arrived: datetime | None = None
    is_contradictory: bool = False

    def add(self, report: Report) -> None:
        """Add a report that shares an id with it."""
        self.is_contradictory |= any(
            known is not None and new is not None and known != new
            for known, new in (
                (self.task_id, report.task_id),
                (self.wa_message_id, report.wa_message_id),
                (self.peer, report.peer),
            )
        )
        self.ids |= report.ids
        self.task_id = self.task_id or report.task_id
        self.wa_message_id = self.wa_message_id or report.wa_message_id
        self.peer = self.peer or report.peer
        self.first_arrived = min(self.first_arrived, report.arrived_at)
        if report.is_sent:
            self.sent_arrived = min(self.sent_arrived or report.arrived_at, report.arrived_at)


@dataclass(frozen=True)
class Proof:
    """An attempt that went out, with the ids of its message."""

    message_id: UUID
    task_id: str | None
    wa_message_id: str | None
    arrived_at: datetime
    """When the last of its orphans was first reported."""


def group_reports(reports: Iterable[Report]) -> list[Orphan]:
    """Return an orphan for each set of reports that are connected by their ids."""
    orphans: list[Orphan] = []
    connected: dict[str, list[Report]] = {}
    for report in reports:
        group = [report]
        for name in report.ids:
            known = connected.get(name, [])
            group += [each for each in known if not any(each is member for member in group)]
        for member in group:
            for name in member.ids:
                connected[name] = group
    for group in {id(group): group for group in connected.values()}.values():
        orphan = Orphan()
        for report in group:
            orphan.add(report)
        orphans.append(orphan)
    return orphans


def find_owners(orphan: Orphan, attempts: Iterable[Attempt]) -> list[Attempt]:
    """Return the attempts that an orphan may belong to."""
    return [attempt for attempt in attempts if _may_own(attempt, orphan)]


def match_orphans(attempts: Sequence[Attempt], orphans: Sequence[Orphan]) -> list[Proof]:
    """Return the attempts of an account that its orphans prove."""
    proven: dict[UUID, list[Orphan]] = defaultdict(list)
    by_task = [orphan for orphan in orphans if orphan.task_id]
    by_whatsapp = [orphan for orphan in orphans if not orphan.task_id and orphan.peer]
    for group in (by_task, by_whatsapp):
        for attempt, orphan in _eliminate(list(attempts), group):
            if attempt.is_unknown:
                proven[attempt.id].append(orphan)
    return [
        Proof(
            message_id,
            next((orphan.task_id for orphan in found if orphan.task_id), None),
            next((orphan.wa_message_id for orphan in found if orphan.wa_message_id), None),
            max(orphan.first_arrived for orphan in found),
        )
        for message_id, found in proven.items()
    ]


def _eliminate(attempts: list[Attempt], orphans: Sequence[Orphan]) -> list[tuple[Attempt, Orphan]]:
    """Return the attempts that are the only owner of an orphan, step by step.

    An attempt that has its orphan owns no further, so that a step may leave the next orphan a
    single owner. An attempt that went out again may own several, and stays.
    """
    owners = {
        number: find_owners(orphan, attempts)
        for number, orphan in enumerate(orphans)
        if not orphan.is_contradictory
    }
    matched: list[tuple[Attempt, Orphan]] = []
    taken: set[UUID] = set()
    while claims := _find_single_owners(owners, taken):
        for attempt, numbers in claims:
            for number in numbers:
                del owners[number]
            if len(numbers) == 1:
                matched.append((attempt, orphans[numbers[0]]))
                taken |= set() if attempt.went_out_again else {attempt.id}
    return matched


def _find_single_owners(
    owners: Mapping[int, Sequence[Attempt]], taken: set[UUID]
) -> list[tuple[Attempt, list[int]]]:
    """Return the attempts that are the only owner left of orphans, with the orphans' numbers."""
    claims: dict[UUID, tuple[Attempt, list[int]]] = {}
    for number, possible in owners.items():
        left = [attempt for attempt in possible if attempt.id not in taken]
        if len(left) == 1:
            claims.setdefault(left[0].id, (left[0], []))[1].append(number)
    return list(claims.values())


def _may_own(attempt: Attempt, orphan: Orphan) -> bool:
    if not (attempt.lacks_task_id if orphan.task_id else attempt.lacks_wa_message_id):
        return False
    if orphan.peer and not is_same_line(orphan.peer, attempt.phone):
        return False
    if orphan.first_arrived < attempt.began - CLOCK_SKEW:
        return False
    if orphan.sent_arrived and attempt.ended:
        return orphan.sent_arrived <= attempt.ended + MAX_QUEUED
    return True

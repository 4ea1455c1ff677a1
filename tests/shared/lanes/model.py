"""A model of the lanes in Python: the state machine compares both after every step."""

from dataclasses import dataclass, field
from uuid import UUID

from shared.lanes.types import State
from tests.shared.lanes.invariants import may_take

ENDS: tuple[State, ...] = ("sent", "failed", "done")
"""How a result of a worker ends an event."""


@dataclass
class Lane:
    name: str
    queue: str
    tenant: str
    gates: tuple[str, ...]
    ids: list[UUID] = field(default_factory=list)
    holder: str = ""
    """The fencing token of the current claim of its head."""
    ended: bool = False
    """The lease is over, and no sweep has noticed."""
    postponed: bool = False


@dataclass
class Record:
    id: UUID
    lane: Lane
    state: State = "queued"
    fence: str = ""
    by: str = ""
    early: bool = False
    """It was appended with a delay that isn't over."""
    expired: bool = False
    resent: bool = False
    """It goes out once more, although its effect was unknown."""
    replays: int = 0


class Model:
    def __init__(self, threads: int) -> None:
        self.threads = threads
        """Of each queue."""
        self.lanes = {
            lane.name: lane
            for lane in (
                Lane("a1", "send", "a", ("g",)),
                Lane("a2", "send", "a", ("h", "g")),
                Lane("a3", "send", "a", ()),
                Lane("b1", "send", "b", ("h",)),
                Lane("w1", "webhook", "a", ()),
            )
        }
        self.records: dict[UUID, Record] = {}
        self.closed: set[str] = set()
        self.outbox: list[str] = []
        self.fence = 0

    def append(self, event_id: UUID, lane: Lane, *, early: bool, scheduled: bool = False) -> None:
        self.records[event_id] = Record(event_id, lane, early=early)
        if scheduled:
            self.records[event_id].state = "scheduled"
        else:
            lane.ids.append(event_id)

    def enter_due(self, record: Record) -> None:
        """A scheduled event is due: it stands last in its lane."""
        record.state = "queued"
        record.lane.ids.append(record.id)

    def cancel(self, record: Record) -> str:
        """Return what the lanes answer."""
        if record.state == "cancelled":
            return "same"
        if record.state not in ("scheduled", "queued"):
            return record.state
        if record.resent:
            return "resent"
        lane = record.lane
        if record.state == "queued":
            if lane.ids[0] == record.id:
                lane.postponed = False
            lane.ids.remove(record.id)
        record.state, record.fence, record.by = "cancelled", "", "cancel"
        self.outbox.append(f"{record.id}:cancel:cancelled")
        return "ok"

    def busy(self, queue: str, tenant: str) -> int:
        return sum(
            1
            for lane in self.lanes.values()
            if lane.holder and (lane.queue, lane.tenant) == (queue, tenant)
        )

    def free(self, queue: str) -> int:
        busy = sum(1 for lane in self.lanes.values() if lane.holder and lane.queue == queue)
        return self.threads - busy

    def may_be_claimed(self, lane: Lane) -> bool:
        """Whether the lane's head may be worked on now, were the lane at hand."""
        if not lane.ids or lane.holder or lane.postponed:
            return False
        head = self.records[lane.ids[0]]
        free = head.expired or not self.closed.intersection(lane.gates)
        share = may_take(self.busy(lane.queue, lane.tenant), self.free(lane.queue))
        return free and not head.early and share

    def claimed(self, record: Record, fence: str) -> None:
        assert int(fence) > self.fence, "a later claim has a higher fence"
        self.fence = int(fence)
        record.state, record.fence, record.lane.holder = "claimed", fence, fence

    def taken_over(self, lane: Lane, fence: str) -> None:
        assert int(fence) > self.fence, "a later claim has a higher fence"
        self.fence = int(fence)
        lane.holder, lane.ended = fence, False

    def conclude(
        self, record: Record, fence: str, state: State, *, postponed: bool
    ) -> tuple[bool, bool]:
        """Return whether it counts, and whether it changes anything (a repeated call does not)."""
        if record.by == fence + state:
            return True, False
        lane = record.lane
        holds = record.state == "claimed" and fence in (record.fence, lane.holder)
        news = record.state in ("queued", "unknown") and fence == record.fence and state in ENDS
        if not holds and not news:
            return False, False
        record.by = fence + state
        self.outbox.append(f"{record.id}:{fence}:{state}")
        if holds:
            lane.holder, lane.ended, lane.postponed = "", False, postponed
        elif lane.ids[:1] == [record.id]:
            lane.postponed = False
        if state != "queued" and record.state != "unknown":
            lane.ids.remove(record.id)
        record.state = state
        return True, True

    def end_run(self, lane: Lane, fence: str, ends: list[tuple[UUID, State]]) -> int:
        """End events behind one that has just ended; return how many ended."""
        for count, (event_id, state) in enumerate(ends):
            record = self.records[event_id]
            if lane.ids[:1] != [event_id] or record.state != "queued":
                return count
            self.outbox.append(f"{event_id}:{fence}:{state}")
            record.by, record.fence, record.state = fence + state, "", state
            lane.ids.remove(event_id)
        return len(ends)

    def resolve(self, record: Record, state: State) -> bool:
        if record.by == f"resolve{state}":
            return True
        if record.state != "unknown":
            return False
        record.by, record.state = f"resolve{state}", state
        self.outbox.append(f"{record.id}:resolve:{state}")
        if state == "queued":
            record.expired, record.resent = False, True
            record.lane.ids.append(record.id)
        return True

    def replay(self, record: Record) -> bool:
        if record.state != "failed":
            return False
        record.state, record.fence, record.by = "queued", "", ""
        record.replays += 1
        record.early = record.expired = record.resent = False
        record.lane.ids.append(record.id)
        return True

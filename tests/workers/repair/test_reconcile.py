"""After a restore, what either side knows of a message counts for both."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import redis

from shared import routing
from shared.database import Database
from shared.events import ChangeEvent, Message, utc_now
from shared.lanes.client import Lanes
from shared.lanes.records import find_record
from shared.lanes.types import Append, ClaimSequence, Settled
from shared.outbox import Outbox
from shared.outcomes import MessageOutcome
from shared.processes import RunningProcess, now_ms, report
from shared.settings import EngineSettings
from tests.fixtures.provision_env import ProvisionEnv, handle_next, supabase_settings
from workers.repair.reconcile import Reconciler, StillRunningError

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Stores:
    """Redis and Supabase with messages of an organization."""

    client: redis.Redis
    lanes: Lanes
    database: Database
    organization_id: UUID
    integration_id: UUID

    def make(self, peer: int, **given: Any) -> Append:
        message = Message(to=f"+7999000{peer:04}", text=f"Hello {peer}", **given)
        return routing.route_send(self.organization_id, self.integration_id, message)

    def accept(self, peer: int, status: Any = None, **given: Any) -> Append:
        """Append a message, and give it a row in this status; None: no row."""
        item = self.make(peer, **given)
        self.lanes.append(item)
        if status:
            self.show(item, status)
        return item

    def show(self, item: Append, status: Any) -> None:
        [queued] = item.outcomes
        assert isinstance(queued, MessageOutcome)
        update = {"status": status, "task_id": f"task {item.id}" if status == "sent" else None}
        self.apply([queued, queued.model_copy(update=update)])

    def apply(self, outcomes: Sequence[Any]) -> None:
        rows = [each.model_dump(mode="json", exclude_none=True) for each in outcomes]
        assert not self.database.outcomes.apply(rows).refused

    def record_all(self) -> None:
        """Carry the outbox to Supabase."""
        outbox = Outbox(self.client)
        while entries := outbox.read(idle_s=0.01, gather_s=0):
            assert not self.database.outcomes.apply([each.row for each in entries]).refused
            outbox.acknowledge(entries)

    def reconcile(self, *, apply: bool = True) -> Reconciler:
        return Reconciler(self.client, self.lanes, self.database, apply=apply)

    def follow_supabase(self, **given: Any) -> Counter[str]:
        reconciler = self.reconcile(**given)
        reconciler.follow_supabase(LONG_AGO)
        return +reconciler.counts

    def state(self, item: Append) -> str | None:
        record = find_record(self.client, item.id)
        return record.state if record else None

    def status(self, item: Append) -> str | None:
        row = self.database.messages.get(item.id, self.organization_id)
        return row.status if row else None

    def nothing_ready(self) -> bool:
        return self.lanes.claim("send", ClaimSequence()) is None


@pytest.fixture
def stores(env: ProvisionEnv, redis_client: redis.Redis) -> Iterator[Stores]:
    organization_id = env.create_organization()
    with env.worker() as ctx:
        integration_id = env.enqueue(organization_id).integration_id
        assert handle_next(ctx)
    redis_client.flushall()
    lanes = Lanes(redis_client, EngineSettings())
    with Database(supabase_settings(env.supabase)) as database:
        yield Stores(redis_client, lanes, database, organization_id, integration_id)


def test_what_supabase_shows_as_ended_is_not_done_again(stores: Stores) -> None:
    """And what waits in both may have gone out: it is unknown, with its row, and is not sent."""
    sent, failed = stores.accept(1, "sent"), stores.accept(2, "failed")
    claimed = stores.accept(3, "sent")
    waiting, without_row = stores.accept(4, "queued"), stores.accept(5)
    later = stores.accept(6, "queued", send_at=utc_now() + timedelta(days=1))
    stores.record_all()
    assert stores.follow_supabase(apply=False) == {
        "sent": 2, "failed": 1, "unknown": 2, "scheduled": 1,
    }  # fmt: skip
    assert stores.state(sent) == "queued", "without apply nothing changes"
    stores.follow_supabase()
    stores.record_all()
    states = {"sent": [sent, claimed], "failed": [failed], "unknown": [waiting, without_row]}
    for state, items in states.items():
        assert {stores.state(item) for item in items} == {state}
        assert {stores.status(item) for item in items} == {state}
    assert stores.state(later) == "scheduled"
    record = find_record(stores.client, sent.id)
    assert record
    assert record.task_id == f"task {sent.id}"
    assert stores.nothing_ready()
    assert stores.follow_supabase() == {"scheduled": 1}


def test_a_claimed_message_frees_its_lane(stores: Stores) -> None:
    first, second = stores.accept(1, "sent"), stores.accept(1)
    claim = stores.lanes.claim("send", ClaimSequence())
    assert claim
    reconciler = stores.reconcile()
    reconciler.follow_supabase(LONG_AGO, hold=False)
    assert reconciler.counts["waiting"] == 1
    assert (stores.state(first), stores.state(second)) == ("sent", "queued")
    following = stores.lanes.claim("send", ClaimSequence())
    assert following
    assert following.id == second.id


def test_messages_that_redis_lost_keep_their_ids(stores: Stores) -> None:
    """A repeated request is answered, with any body, and sends nothing; what waited is unknown."""
    sent, waiting = stores.make(1), stores.make(2)
    stores.show(sent, "sent")
    stores.show(waiting, "queued")
    assert stores.follow_supabase() == {"recalled": 2, "lost": 1}
    stores.record_all()
    assert (stores.status(sent), stores.status(waiting)) == ("sent", "unknown")
    changed = replace(sent, fingerprint="another request")
    assert [stores.lanes.append(each).new for each in (sent, waiting, changed)] == [False] * 3
    assert stores.nothing_ready()
    assert stores.follow_supabase() == {}


def test_an_unknown_message_is_settled_by_its_row(stores: Stores) -> None:
    """An operator, or a report, settled it after the backup."""
    item = stores.accept(1)
    claim = stores.lanes.claim("send", ClaimSequence())
    assert claim
    stores.lanes.conclude(claim, Settled("unknown"))
    stores.show(item, "sent")
    assert stores.follow_supabase() == {"sent": 1}
    assert stores.state(item) == "sent"


def test_an_edit_is_not_made_twice(stores: Stores) -> None:
    """Its new text may have gone out; a deletion may be repeated."""
    message_id = stores.make(1).id
    changes = [
        ChangeEvent(
            id=UUID(int=number),
            action=action,
            organization_id=stores.organization_id,
            integration_id=stores.integration_id,
            to="79990000001",
            message_id=message_id,
            text="New",
        )
        for number, action in enumerate(("edit", "delete"), 1)
    ]
    edit, delete = map(routing.route_event, changes)
    stores.lanes.append_all([edit, delete])
    assert stores.follow_supabase() == {"failed": 1, "waiting": 1}
    assert (stores.state(edit), stores.state(delete)) == ("failed", "queued")


def test_nothing_is_settled_under_a_running_worker(stores: Stores) -> None:
    at_ms = now_ms(stores.client)
    report(stores.client, RunningProcess.of_this_process(["send"], 1, at_ms))
    with pytest.raises(StillRunningError, match="first"):
        stores.reconcile().require_stopped()


def test_supabase_gets_back_what_redis_knows(stores: Stores) -> None:
    """Rows of what has not ended, and the end of rows that wait; words of the rest are lost."""
    waiting, ended, gone = stores.accept(1), stores.accept(2, "queued"), stores.accept(3)
    sequence = ClaimSequence()
    while claim := stores.lanes.claim("send", sequence):
        if claim.id != waiting.id:
            stores.lanes.conclude(claim, Settled("sent"))
    stores.client.delete("wpp:outbox")
    reconciler = stores.reconcile()
    reconciler.follow_redis()
    assert +reconciler.counts == {"rows": 1, "sent": 1, "missing": 1}
    stores.record_all()
    statuses = [stores.status(item) for item in (waiting, ended, gone)]
    assert statuses == ["queued", "sent", None]

"""Recorders that apply outcomes of one organization at the same time."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.migrations.conftest import Tenant

FIRST, SECOND = "79990000001", "79990000002"
WAITING = """
select count(*) as n from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock'
"""


@dataclass
class Recorders:
    """Batches in transactions of their own, and a CRM that locks the clients that there are."""

    tenant: Tenant
    url: str
    crm: psycopg.Connection[Any]
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4))

    def lock_clients(self) -> None:
        self.crm.execute("select from clients for update")

    def begin(self, *outcomes: Any) -> Future[None]:
        """Apply outcomes in another thread, with any patience for locks."""
        return self.threads.submit(self._apply, [each.model_dump(mode="json") for each in outcomes])

    def _apply(self, rows: list[dict[str, Any]]) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute("select wpp.apply_batch(%s)", (Jsonb(rows),))

    def wait_for_waiting(self, count: int) -> None:
        """Wait until `count` transactions wait for locks."""
        give_up_at = time.monotonic() + 20
        while self.tenant.rows(WAITING)[0]["n"] != count:
            assert time.monotonic() < give_up_at
            time.sleep(0.01)


@pytest.fixture
def recorders(tenant: Tenant, database_url: str) -> Iterator[Recorders]:
    tenant.apply(tenant.arrived(0, wa_message_id="W0", phone=FIRST))
    with psycopg.connect(database_url) as crm:
        started = Recorders(tenant, database_url, crm)
        yield started
        crm.rollback()
    started.threads.shutdown()


def read_ids(tenant: Tenant) -> list[str]:
    """Return WhatsApp's ids of messages in the order of their events."""
    rows = tenant.rows(
        "select i.external_id from wpp.events e join wpp_message_ids i using (message_id)"
        " where e.organization_id = %s order by e.id",
        tenant.id,
    )
    return [row["external_id"] for row in rows]


def test_a_batch_that_waits_holds_up_no_other_conversation(recorders: Recorders) -> None:
    tenant = recorders.tenant
    recorders.lock_clients()
    blocked = recorders.begin(tenant.arrived(1, wa_message_id="W1", phone=FIRST))
    recorders.wait_for_waiting(1)
    answer = tenant.apply(tenant.arrived(2, wa_message_id="W2", phone=SECOND))
    assert answer["set_aside"] == []
    assert not blocked.done()
    assert read_ids(tenant) == ["W0", "W2"]
    recorders.crm.rollback()
    blocked.result()
    assert read_ids(tenant) == ["W0", "W2", "W1"]


def test_a_conversation_keeps_its_order(recorders: Recorders) -> None:
    """A later batch of the same conversation waits, and finds what the earlier one has made."""
    tenant = recorders.tenant
    recorders.lock_clients()
    earlier = recorders.begin(tenant.arrived(1, wa_message_id="W1", phone=FIRST))
    recorders.wait_for_waiting(1)
    later = recorders.begin(tenant.arrived(2, wa_message_id="W2", phone=FIRST))
    recorders.wait_for_waiting(2)
    recorders.crm.rollback()
    earlier.result()
    later.result()
    assert read_ids(tenant) == ["W0", "W1", "W2"]
    assert len(tenant.clients()) == 1


def test_a_contact_of_two_batches_is_created_once(recorders: Recorders) -> None:
    tenant = recorders.tenant
    recorders.lock_clients()
    messages = [tenant.arrived(n, wa_message_id=f"W{n}", phone=SECOND) for n in (1, 2)]
    known = tenant.arrived(3, wa_message_id="W3", phone=FIRST)
    batches = [recorders.begin(known, messages[0])]
    recorders.wait_for_waiting(1)
    batches.append(recorders.begin(messages[1]))
    recorders.wait_for_waiting(2)
    recorders.crm.rollback()
    for batch in batches:
        batch.result()
    assert sorted(row["phone"] for row in tenant.clients()) == [FIRST, SECOND]


def test_a_report_waits_for_its_message_and_is_not_parked(recorders: Recorders) -> None:
    tenant = recorders.tenant
    recorders.lock_clients()
    message = recorders.begin(tenant.sent("sent", 1, task_id="T1", phone=FIRST))
    recorders.wait_for_waiting(1)
    report = recorders.begin(tenant.status("delivered", 2, "T1"))
    recorders.wait_for_waiting(2)
    recorders.crm.rollback()
    message.result()
    report.result()
    assert tenant.rows("select from wpp.parked_outcomes") == []
    (row,) = tenant.rows("select message_status from chat_messages where is_outgoing")
    assert row["message_status"] == "delivered"


@pytest.mark.parametrize("edit_is_first", [True, False])
def test_an_edit_beside_the_report_of_its_delete(
    recorders: Recorders, *, edit_is_first: bool
) -> None:
    """Another id names the message in each of them: the delete does not count in either order."""
    tenant = recorders.tenant
    tenant.apply(tenant.sent(second=1, task_id="T1", phone=FIRST))
    tenant.apply(tenant.status("read", 2, task_id="T1", wa_message_id="W1"))
    edit = tenant.edit("New", 5.5, "T1").model_copy(update={"task_id": "T2", "own": True})
    batches = [edit, tenant.status("deleted", 5, "W1")]
    earlier, later = batches if edit_is_first else reversed(batches)
    with psycopg.connect(recorders.url) as first:
        rows = [earlier.model_dump(mode="json")]
        first.execute("select wpp.apply_batch(%s)", (Jsonb(rows),))
        second = recorders.begin(later)
        recorders.wait_for_waiting(1)
    second.result()
    (row,) = tenant.rows("select message_status from chat_messages where is_outgoing")
    assert row["message_status"] == "sent"


def test_ids_of_events_rise_in_the_order_of_commits(recorders: Recorders) -> None:
    """A batch writes its events after those of a transaction that has not committed yet."""
    tenant = recorders.tenant
    with psycopg.connect(recorders.url) as first:
        rows = [tenant.arrived(1, wa_message_id="W1", phone=FIRST).model_dump(mode="json")]
        first.execute("select wpp.apply_batch(%s)", (Jsonb(rows),))
        second = recorders.begin(tenant.arrived(2, wa_message_id="W2", phone=SECOND))
        recorders.wait_for_waiting(1)
        assert not second.done()
    second.result()
    assert read_ids(tenant) == ["W0", "W1", "W2"]


ALONE: dict[str, Callable[[Tenant], Any]] = {
    "the state of a number": lambda tenant: tenant.session("connected", 2),
    "a hidden id": lambda tenant: tenant.arrived(
        2, wa_message_id="W2", phone=SECOND, lid="1234567@lid"
    ),
    "an unknown phone": lambda tenant: tenant.arrived(
        2, wa_message_id="W2", phone="", lid="1234567@lid"
    ),
    "an echo": lambda tenant: tenant.arrived(2, wa_message_id="W2", phone=SECOND, outgoing=True),
}


@pytest.mark.parametrize("outcome", ALONE.values(), ids=ALONE)
def test_what_may_concern_other_conversations_is_applied_alone(
    recorders: Recorders, outcome: Callable[[Tenant], Any]
) -> None:
    tenant = recorders.tenant
    recorders.lock_clients()
    first = recorders.begin(tenant.arrived(1, wa_message_id="W1", phone=FIRST))
    recorders.wait_for_waiting(1)
    alone = recorders.begin(outcome(tenant))
    recorders.wait_for_waiting(2)
    recorders.crm.rollback()
    first.result()
    alone.result()


def test_batches_of_the_same_organizations_never_wait_for_each_other(recorders: Recorders) -> None:
    """Each lets an echo become part of another message, of one organization, before it goes on."""
    tenant = recorders.tenant
    other = Tenant(tenant.db, "0000000000077")
    other.connect()
    for each in (tenant, other):
        each.apply(each.sent(task_id="T1", phone=SECOND))
        each.apply(each.arrived(1, wa_message_id="W1", phone=SECOND, outgoing=True))
    recorders.crm.execute("select from chat_messages where is_outgoing for update")
    batches = [
        recorders.begin(
            merging.status("delivered", 2, task_id="T1", wa_message_id="W1"),
            further.arrived(3, wa_message_id="W3", phone=FIRST),
        )
        for merging, further in ((tenant, other), (other, tenant))
    ]
    recorders.wait_for_waiting(2)
    recorders.crm.rollback()
    for batch in batches:
        batch.result()
    for each in (tenant, other):
        (row,) = each.rows(
            "select message_status from chat_messages where is_outgoing and organization_id = %s",
            each.id,
        )
        assert row["message_status"] == "delivered"

"""The cost of a batch is independent of the stored rows and of the planner's statistics."""

from uuid import UUID, uuid5

import pytest

from tests.migrations.conftest import Db, Tenant

BATCH, BATCHES = 100, 8
OTHERS = 2000
"""Clients who don't write: a table of one page is read as a whole, whatever indexes it has."""
READ = """
select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as tuples
from pg_stat_xact_user_tables where schemaname = 'public'
"""


def tuples(tenant: Tenant) -> dict[str, int]:
    """Return the number of rows of each table that this transaction has read so far."""
    return {row["relname"]: row["tuples"] for row in tenant.rows(READ)}


@pytest.mark.parametrize("analyzed", [False, True])
def test_a_later_batch_reads_no_more_than_an_earlier_one(untouched: Db, *, analyzed: bool) -> None:
    """The worst case: plans for empty tables, or for an organization that owns every row."""
    tenant = Tenant(untouched, "0000000000041").connect()
    untouched.execute(
        "insert into clients (organization_id, name, phone) "
        "select %s, 'Other', '7888' || lpad(n::text, 7, '0') from generate_series(1, %s) as n",
        (tenant.id, OTHERS),
    )
    for _ in range(6):  # from the sixth time on, Postgres keeps the plan it has
        tenant.apply()
    read = []
    for batch in range(BATCHES):
        numbers = range(batch * BATCH, (batch + 1) * BATCH)
        ids = {n: uuid5(UUID(int=0), str(n)) for n in numbers}
        phones = {n: f"7999{n % 50:07}" for n in numbers}
        untouched.execute(
            "select pg_stat_force_next_flush()"
        )  # what was read before is counted elsewhere from now on
        with untouched.transaction():
            tenant.apply(
                *(tenant.arrived(n, wa_message_id=f"W{n}", phone=phones[n]) for n in numbers)
            )
            tenant.apply(*(tenant.sent("queued", n, id=ids[n], phone=phones[n]) for n in numbers))
            tenant.apply(
                *(
                    tenant.sent("sent", n, id=ids[n], phone=phones[n], task_id=f"T{n}")
                    for n in numbers
                )
            )
            tenant.apply(*(tenant.status("delivered", n, f"T{n}") for n in numbers))
            read.append(tuples(tenant))
        if analyzed:
            untouched.execute("analyze")
    first, last = read[1], read[-1]  # the very first batch also makes the clients
    assert {
        table: count for table, count in last.items() if count > 1.5 * first[table] + BATCH
    } == {}
    assert sum(last.values()) < 100 * BATCH


def test_a_batch_keeps_its_plans(tenant: Tenant) -> None:
    """Whatever a batch holds, its statements run under the same setting, and others do not."""
    with tenant.db.transaction(force_rollback=True):  # further tests see no trigger
        tenant.db.execute("create table seen (setting text)")
        tenant.db.execute(
            "create function see() returns trigger language plpgsql as $$ begin"
            " insert into seen values (current_setting('plan_cache_mode')); return null; end $$"
        )
        tenant.db.execute("create trigger see after insert on chat_messages execute function see()")
        tenant.apply(tenant.arrived(wa_message_id="W1"))
        settings = [row["setting"] for row in tenant.rows("select setting from seen")]
        assert settings == ["force_generic_plan"]
        assert tenant.rows("show plan_cache_mode") == [{"plan_cache_mode": "auto"}]

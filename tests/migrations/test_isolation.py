"""No organization's outcomes wait for another's: locked, refused, deleted."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

import psycopg
import pytest

from tests.fixtures.waiting import least_s, shortest_s
from tests.migrations.conftest import Db, Tenant, at

PATIENCE_S = 1.5
"""What a batch may take beside an organization in trouble: 0.9 s, and slack for a busy machine."""
CRASHING = """
    create function pg_temp.refuse() returns trigger language plpgsql as $$
    begin
      if new.organization_id = '{}' then perform 'x'::timestamptz; end if;
      return new;
    end $$;
    create trigger refuse before insert on chat_messages
      for each row execute function pg_temp.refuse()"""


@contextmanager
def locked(database_url: str, *tenants: Tenant) -> Iterator[None]:
    """Hold the locks of a CRM transaction that updates all clients of organizations."""
    with psycopg.connect(database_url) as crm:
        for tenant in tenants:
            crm.execute("update clients set name = name where organization_id = %s", (tenant.id,))
        yield
        crm.rollback()


def arrivals(tenant: Tenant, count: int, first: int = 0) -> list[Any]:
    """Return messages of different clients, which exist already."""
    return [
        tenant.arrived(
            n, phone=f"7999{first + n:07}", wa_message_id=f"{tenant.account}-{first + n}"
        )
        for n in range(count)
    ]


def test_locked_clients_of_one_organization_delay_no_other(
    tenant: Tenant, other: Tenant, database_url: str
) -> None:
    """400 messages behind a lock cost the first batch a second, and further batches nothing."""
    tenant.db.execute(
        "insert into clients (organization_id, name, phone, last_message_at) "
        "select %s, 'Anna', '7999' || lpad(n::text, 7, '0'), %s from generate_series(0, 1999) as n",
        (tenant.id, at(-1)),
    )
    batches = count()

    def apply(set_aside: int) -> float:
        """Return how many seconds a batch takes."""
        batch, before = next(batches), tenant.messages()
        outcomes = *arrivals(tenant, 99, first=100 * batch), *arrivals(other, 1, first=batch)
        began = time.monotonic()
        answer = other.apply(*outcomes)
        took_s = time.monotonic() - began
        assert len(other.messages()) == batch + 1
        assert answer["waiting"] == 99
        assert len(answer["set_aside"]) == set_aside
        assert tenant.messages() == before
        return took_s

    with psycopg.connect(database_url) as crm:

        def lock_and_apply() -> float:
            crm.rollback()
            tenant.retry()
            crm.execute("update clients set name = name where organization_id = %s", (tenant.id,))
            return apply(set_aside=1)

        assert least_s(lock_and_apply, PATIENCE_S) < PATIENCE_S
        for _ in range(3):
            assert least_s(partial(apply, set_aside=0), 0.5) < 0.5
        crm.rollback()
    tenant.retry()
    assert len(tenant.messages()) == 99 * next(batches)
    assert tenant.aside() == []


def test_an_organization_that_is_being_deleted_delays_no_other(
    tenant: Tenant, other: Tenant, database_url: str
) -> None:
    """The transaction that deletes it is open: its rows wait for it, and end as dead letters."""
    batches = count()
    with psycopg.connect(database_url) as crm:

        def apply() -> None:
            tenant.db.execute("truncate wpp.set_aside, wpp.set_aside_outcomes")
            other.apply(*(tenant.sent() for _ in range(3)), other.sent(second=next(batches)))

        crm.execute("delete from organizations where id = %s", (tenant.id,))
        assert shortest_s(apply, PATIENCE_S) < PATIENCE_S
        assert len(other.messages()) == next(batches)
        crm.commit()
    tenant.retry()
    reasons = tenant.rows("select organization_id, reason from wpp_dead_letters")
    assert reasons == [{"organization_id": tenant.id, "reason": "organization_deleted"}] * 3
    assert tenant.aside() == []


def test_outcomes_of_a_deleted_organization_are_dead_letters_at_once(
    tenant: Tenant, other: Tenant
) -> None:
    waiting = [tenant.sent(), tenant.arrived(), tenant.sent("failed"), tenant.session("error", 1)]
    tenant.db.execute("delete from organizations where id = %s", (tenant.id,))
    answer = other.apply(*waiting, other.sent())
    assert [each["row"] for each in answer["refused"]] == [0, 2]
    assert (answer["set_aside"], answer["waiting"]) == ([], 0)
    assert len(other.messages()) == 1
    letters = tenant.rows("select reason, detail from wpp_dead_letters")
    assert (
        letters
        == [{"reason": "organization_deleted", "detail": "the organization was deleted"}] * 2
    )
    # Nobody has its account any more: as with any unknown account, what arrives there is parked.
    assert len(tenant.rows("select from wpp.parked_outcomes where awaits = 'account'")) == 2


def test_rows_that_one_organization_has_refused_stop_no_other(
    db: Db, tenant: Tenant, other: Tenant
) -> None:
    """Also when all outcomes of the batch fail for this reason, and time after time."""
    with db.transaction(force_rollback=True):
        db.execute(CRASHING.format(tenant.id).encode())
        for batch in range(3):
            tenant.apply(tenant.sent(), tenant.sent())
            answer = other.apply(tenant.sent(), tenant.sent(), other.sent())
            assert answer["refused"] == []
            assert len(other.messages()) == batch + 1
        assert tenant.aside() == [str(tenant.id)]


def test_a_set_aside_ends_when_what_failed_went_through(tenant: Tenant, database_url: str) -> None:
    """New outcomes are applied at once then, while those that were put behind it still wait."""
    held = tenant.add_client("79990000000", last_message_at=at(-1))
    with psycopg.connect(database_url) as crm:
        crm.execute("select from clients where id = %s for update", (held,))
        tenant.apply(tenant.arrived(1, phone="79990000000"))
        behind = [tenant.arrived(n, phone="79990000001") for n in range(2, 6)]
        assert tenant.apply(*behind)["waiting"] == 4
        crm.rollback()
    tenant.db.execute("update wpp.set_aside set retry_at = now()")
    (row,) = tenant.rows("select wpp_claim_set_aside(1) as it")
    claimed = row["it"]["claimed"]
    tenant.rows("select wpp_apply_set_aside(%s, %s)", claimed["owner"], claimed["rows"])
    assert tenant.apply(tenant.arrived(6, phone="79990000001"))["waiting"] == 0
    assert len(tenant.messages()) == 2
    assert tenant.aside() == [str(tenant.id)]
    tenant.retry()
    assert len(tenant.messages()) == 6
    assert tenant.aside() == []


def test_an_outcome_behind_a_set_aside_that_fails_prolongs_it(
    tenant: Tenant, database_url: str
) -> None:
    held = tenant.add_client("79990000000", last_message_at=at(-1))
    with psycopg.connect(database_url) as crm:
        crm.execute("select from clients where id = %s for update", (held,))
        tenant.apply(tenant.arrived(1, phone="79990000000"))
        tenant.apply(tenant.arrived(2, phone="79990000000"))
        tenant.retry()
        failed = tenant.rows("select failed from wpp.set_aside_outcomes")
        assert failed == [{"failed": True}] * 2
        crm.rollback()


def test_recorders_share_what_is_set_aside(tenant: Tenant, database_url: str) -> None:
    """A claimed outcome is claimed by no further recorder, and not again before its pause."""
    tenant.add_client("79990000000", last_message_at=at(-1))
    with locked(database_url, tenant):
        tenant.apply(*(tenant.arrived(n, phone="79990000000") for n in range(4)))
    tenant.db.execute("update wpp.set_aside set retry_at = now()")
    claim = "wpp_claim_set_aside(3)"
    # In a single statement: a pause between two may be longer than that of the claimed rows.
    (row,) = tenant.rows(f"select {claim} as first, {claim} as second")
    assert len(row["first"]["claimed"]["rows"]) == 3
    assert row["second"]["claimed"] is None
    assert 0 < row["second"]["due_in_s"] <= 1
    (shown,) = row["second"]["set_aside"]
    assert (shown["owner"], shown["waiting"]) == (str(tenant.id), 4)


def test_the_pauses_grow_to_half_a_minute_and_the_parts_shrink(
    tenant: Tenant, database_url: str
) -> None:
    """A try that ends the statement or the process leaves the next try fewer rows, later."""
    tenant.add_client("79990000000", last_message_at=at(-1))
    with locked(database_url, tenant):
        tenant.apply(*(tenant.arrived(n, phone="79990000000") for n in range(8)))
    seen = []
    for _ in range(8):
        tenant.db.execute("update wpp.set_aside set retry_at = now()")
        (row,) = tenant.rows("select wpp_claim_set_aside(8) as it")
        seen.append((len(row["it"]["claimed"]["rows"]), round(row["it"]["due_in_s"])))
    assert seen == [(8, 1), (4, 2), (2, 4), (1, 8), (1, 16), (1, 30), (1, 30), (1, 30)]


@pytest.mark.parametrize("code", ["53100", "25006", "57P01"])
def test_an_error_that_concerns_all_is_raised(db: Db, tenant: Tenant, code: str) -> None:
    """A full disk or a read-only database is nobody's fault: the outcomes stay in the outbox."""
    with db.transaction(force_rollback=True):
        db.execute(
            CRASHING.format(tenant.id)
            .replace("perform 'x'::timestamptz", f"raise exception 'no' using errcode = '{code}'")
            .encode()
        )
        with pytest.raises(psycopg.Error) as caught, db.transaction():
            tenant.apply(tenant.sent())
        assert caught.value.sqlstate == code
        assert tenant.aside() == []


def test_what_was_set_aside_for_too_long_ends_as_dead_letters(
    tenant: Tenant, database_url: str
) -> None:
    tenant.add_client("79990000000", last_message_at=at(-1))
    with locked(database_url, tenant):
        tenant.apply(*(tenant.arrived(n, phone="79990000000") for n in range(3)))
    expire = "select wpp_expire_parked(now() + interval '1 minute', 10) as done"
    assert tenant.rows(expire) == [{"done": 3}]
    letters = tenant.rows("select detail from wpp_dead_letters")
    assert {row["detail"] for row in letters} == {"55P03: canceling statement due to lock timeout"}
    assert tenant.aside() == []

"""Invalid rows, locked rows, and a database with a changed schema."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tests.migrations.conftest import PHONE, Db, Tenant, at


@pytest.fixture
def undone(db: Db, tenant: Tenant) -> Iterator[Tenant]:
    """Return a tenant whose database may be altered: the test ends with a rollback."""
    with db.transaction(force_rollback=True):
        yield tenant


def letters(tenant: Tenant) -> list[dict[str, Any]]:
    return tenant.rows("select * from wpp_dead_letters order by detail")


def refused(tenant: Tenant, *outcomes: Any) -> list[int]:
    return [each["row"] for each in tenant.apply(*outcomes)["refused"]]


def alter(tenant: Tenant, statement: str) -> None:
    tenant.db.execute(statement.encode())


def test_one_wrong_row_is_a_dead_letter_and_the_others_are_applied(tenant: Tenant) -> None:
    wrong = tenant.sent().model_dump(mode="json") | {"id": "not-a-uuid"}
    answer = tenant.apply(tenant.sent(), tenant.sent(), wrong, tenant.sent())
    (named,) = answer["refused"]
    assert named["row"] == 2
    assert named["why"].startswith("22P02: ")
    assert len(tenant.messages()) == 3
    (letter,) = letters(tenant)
    assert (letter["kind"], letter["reason"], letter["detail"]) == (
        "outcome",
        "refused",
        named["why"],
    )
    assert (letter["organization_id"], letter["event"], letter["replayed_at"]) == (
        tenant.id,
        wrong,
        None,
    )


def test_a_row_that_is_refused_again_is_one_dead_letter_and_open_again(tenant: Tenant) -> None:
    """Also when it was replayed in between."""
    wrong = tenant.arrived().model_dump(mode="json") | {"status": "nonsense"}
    tenant.apply(wrong)
    tenant.db.execute("update wpp_dead_letters set replayed_at = now()")
    tenant.apply(wrong)
    (letter,) = letters(tenant)
    assert (letter["attempts"], letter["replayed_at"], letter["organization_id"]) == (
        2,
        None,
        tenant.id,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "nonsense"},
        {"type": None},
        {"at": None},
        {"text": None},
        {"phone": None},
        {"status": "nonsense"},
        {"organization_id": str(uuid4())},
        {"organization_id": "nonsense"},
    ],
)
def test_an_invalid_row_is_refused(tenant: Tenant, wrong: dict[str, Any]) -> None:
    assert refused(tenant, tenant.sent(), tenant.sent().model_dump(mode="json") | wrong) == [1]
    assert len(tenant.messages()) == 1


def test_no_outcome_writes_into_another_organization(tenant: Tenant, other: Tenant) -> None:
    sent = tenant.sent(task_id="T1")
    tenant.apply(sent)
    foreign = [
        sent.model_copy(update={"organization_id": other.id, "integration_id": other.integration}),
        tenant.sent().model_copy(update={"organization_id": other.id}),
        tenant.arrived().model_copy(update={"organization_id": other.id}),
    ]
    answer = tenant.apply(tenant.sent(second=1), *foreign)
    assert [each["row"] for each in answer["refused"]] == [1, 2, 3]
    assert all("another organization" in each["why"] for each in answer["refused"])
    tenant.apply(other.status("read", 1, "T1"))
    assert [row["message_status"] for row in tenant.messages()] == ["sent", "sent"]
    assert other.messages() == []


CHANGES = {
    "a column was renamed": "alter table chat_messages rename column file_type to mime",
    "a column must not be null": "alter table chat_messages add column branch text not null",
    "a client's column must not be null": "alter table clients add column branch text not null",
    "a trigger names what is gone": """
        create function pg_temp.broken() returns trigger language plpgsql as $$
        begin new.gone := 1; return new; end $$;
        create trigger broken before insert on chat_messages
          for each row execute function pg_temp.broken()""",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_schema_is_no_fault_of_the_rows(undone: Tenant, change: str) -> None:
    """The rows wait with the reason, no row becomes a dead letter, what needs no row is applied."""
    with undone.db.transaction(force_rollback=True):
        alter(undone, change)
        for outcomes in (
            [undone.arrived()],
            [undone.session("connected", 1), undone.arrived(), undone.arrived()],
        ):
            with undone.db.transaction(force_rollback=True):
                answer = undone.apply(*outcomes)
                (aside,) = answer["set_aside"]
                assert aside["owner"] == str(undone.id)
                assert aside["code"] in {"23502", "42703"}
                assert aside["why"]
                assert (answer["waiting"], answer["refused"]) == (len(outcomes), [])
                assert letters(undone) == []


REFUSE_ALL = """
    create function pg_temp.refuse() returns trigger language plpgsql as $$
    begin raise exception 'not today'; end $$;
    create trigger refuse before insert on chat_messages
      for each row execute function pg_temp.refuse()"""


def test_rows_that_are_all_refused_for_one_reason_wait_for_five_minutes(undone: Tenant) -> None:
    """The rule may be wrong: they become dead letters only when it stays."""
    alter(undone, REFUSE_ALL)
    batch = [undone.sent().model_dump(mode="json") for _ in range(3)]
    answer = undone.apply(*batch)
    assert [(each["code"], each["why"]) for each in answer["set_aside"]] == [("P0001", "not today")]
    assert undone.retry()["left"] == 3
    assert letters(undone) == []
    undone.rows("update wpp.set_aside set since = since - interval '6 minutes' returning owner")
    assert undone.retry()["refused"] == ["P0001: not today"] * 3
    assert len(letters(undone)) == 3
    assert undone.aside() == []


def test_a_reason_that_concerns_several_organizations_refuses_no_row(undone: Tenant) -> None:
    """It is the schema's fault: the rows wait until it is mended."""
    second = Tenant(undone.db, "0000000000042").connect()
    with undone.db.transaction(force_rollback=True):
        alter(undone, REFUSE_ALL)
        undone.apply(*(each.sent() for each in (undone, second) for _ in range(2)))
        undone.rows("update wpp.set_aside set since = since - interval '1 day' returning owner")
        undone.retry()
        assert letters(undone) == []
        assert undone.aside() == sorted([str(undone.id), str(second.id)])
        alter(undone, "drop trigger refuse on chat_messages")
        undone.retry()
        assert (len(undone.messages()), len(second.messages())) == (2, 2)
        assert undone.aside() == []


def test_a_constraint_that_some_rows_break_refuses_only_these(undone: Tenant) -> None:
    alter(undone, "alter table chat_messages add constraint polite check (message_text <> 'damn')")
    assert refused(undone, *(undone.sent(text=text) for text in ("one", "damn", "two"))) == [1]
    assert [row["message_text"] for row in undone.messages()].count("damn") == 0
    assert len(undone.messages()) == 2


def test_a_row_behind_a_lock_waits_and_delays_no_other(tenant: Tenant, database_url: str) -> None:
    """A transaction of the CRM locks a client: only the message of this client waits."""
    held = tenant.add_client(PHONE, last_message_at=at(0))
    with psycopg.connect(database_url) as crm:
        crm.execute("select from clients where id = %s for update", (held,))
        answer = tenant.apply(
            tenant.arrived(1), *(tenant.arrived(2, phone=f"7999000333{n}") for n in range(3))
        )
        assert (answer["waiting"], answer["refused"]) == (1, [])
        assert [each["code"] for each in answer["set_aside"]] == ["55P03"]
        assert len(tenant.messages()) == 3
        assert tenant.retry()["left"] == 1
        crm.rollback()
    tenant.retry()
    assert tenant.aside() == []
    assert len(tenant.messages()) == 4


def test_a_missing_field_is_found_before_any_table_is_written(undone: Tenant) -> None:
    """Postgres reports a missing text and an unknown column alike; only the first is the row's."""
    names = sql.SQL("alter table {} alter column {} set not null").format(
        sql.Identifier("chat_messages"), sql.Identifier("message_text")
    )
    undone.db.execute(names)
    assert refused(
        undone, undone.sent(), undone.sent().model_dump(mode="json") | {"text": None}
    ) == [1]

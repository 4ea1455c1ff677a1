"""The migrations on an old database of the CRM: all rows stay, and the pipeline works on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from sandbox.supabase.migrate import migrate
from sandbox.supabase.project import MIGRATIONS, Supabase
from tests.migrations.conftest import PHONE, Db, Tenant, at

CRM = Path(__file__).with_name("crm.sql").read_text(encoding="utf-8")
FIRST = UUID("00000000-0000-4000-8000-000000000001")
SECOND = UUID("00000000-0000-4000-8000-000000000002")
ACCOUNT = "0000000000001"


CLOUD = """
    drop table message_reactions, chat_messages;
    create table chat_messages (
      id uuid primary key default gen_random_uuid(),
      organization_id uuid not null references organizations on delete cascade,
      client_id uuid not null references clients on delete cascade,
      content text not null,
      message_type text default 'text',
      messenger text not null,
      direction text not null check (direction in ('incoming', 'outgoing')),
      status text,
      external_id text,
      media_url text,
      media_type text,
      sender_id uuid,
      metadata jsonb,
      created_at timestamptz default now()
    );
    insert into chat_messages (organization_id, client_id, content, messenger, direction)
    select organization_id, id, 'from before', 'whatsapp', 'incoming' from clients;
"""
"""What the CRM's cloud version calls the same columns."""


@contextmanager
def upgraded(project: Supabase, name: str, before: str, folder: Path = MIGRATIONS) -> Iterator[str]:
    """Create a database of the CRM, apply our migrations to it, and yield its URL."""
    with psycopg.connect(project.postgres.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} owner postgres").format(sql.Identifier(name)))
        url = psycopg.conninfo.make_conninfo(project.database_url, dbname=name)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(before.encode())
        migrate(url, folder)
        yield url
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def crm_url(supabase_world: Supabase) -> Iterator[str]:
    """Return the URL of a database of the CRM with our migrations."""
    with upgraded(supabase_world, "crm_before", CRM) as url:
        yield url


@pytest.fixture
def crm(crm_url: str) -> Iterator[Db]:
    """Return a connection to it in one transaction, which is rolled back."""
    with psycopg.connect(crm_url, row_factory=dict_row) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def first(crm: Db) -> Tenant:
    """Return the organization whose number the old system connected."""
    (row,) = crm.execute("select id from messenger_integrations where name = 'Old'").fetchall()
    return Tenant(crm, ACCOUNT, id=FIRST, integration=row["id"])


@pytest.fixture
def second(crm: Db) -> Tenant:
    tenant = Tenant(crm, "0000000000002", id=SECOND)
    crm.execute(
        "select wpp_save_integration(%s, %s, 'New', %s)",
        (tenant.integration, SECOND, tenant.account),
    )
    return tenant


def test_numbers_from_before_have_no_warm_up(first: Tenant, second: Tenant) -> None:
    """Whatever is set; a new number begins its warm-up."""
    for tenant in (first, second):
        tenant.apply(tenant.session("connected", 1))
    assert first.rows("select wpp_pacing_of(%s) as it", FIRST)[0]["it"] == []
    (new,) = second.rows("select wpp_pacing_of(%s) as it", SECOND)[0]["it"]
    assert new["warm_up_from"]


def count(db: Db, table: str) -> int:
    (row,) = db.execute(
        sql.SQL("select count(*) as n from {}").format(sql.Identifier(table))
    ).fetchall()
    return int(row["n"])


def test_pain_06_the_cloud_s_column_names_are_supported(supabase_world: Supabase) -> None:
    """Our columns are added, theirs may stay empty; messages arrive, go out, change status."""
    with (
        upgraded(supabase_world, "cloud_before", CRM + CLOUD) as url,
        psycopg.connect(url, row_factory=dict_row) as db,
    ):
        (row,) = db.execute("select id from messenger_integrations where name = 'Old'").fetchall()
        tenant = Tenant(db, ACCOUNT, id=FIRST, integration=row["id"])
        tenant.apply(
            tenant.arrived(wa_message_id="W1", phone="79995550000", text="Hi"),
            tenant.sent(task_id="T1"),
        )
        tenant.apply(
            tenant.status("read", 1, "T1"),
            tenant.reaction("👍", 2, "W1"),
            tenant.edit("Hi!", 3, "W1"),
        )
        rows = tenant.rows(
            "select message_text, message_status from chat_messages where external_message_id is "
            "not null"
        )
        assert sorted((each["message_text"], each["message_status"]) for each in rows) == [
            ("Hello", "read"),
            ("Hi!", "delivered"),
        ]
        assert (
            len(db.execute("select from chat_messages where content = 'from before'").fetchall())
            == 2
        )


def test_no_row_was_lost(crm: Db) -> None:
    counted = {
        table: count(crm, table)
        for table in (
            "clients",
            "messenger_integrations",
            "whatsapp_sessions",
            "chat_messages",
            "message_reactions",
        )
    }
    assert counted == {
        "clients": 2,
        "messenger_integrations": 3,
        "whatsapp_sessions": 2,
        "chat_messages": 4,
        "message_reactions": 8,
    }


def test_pain_06_pain_33_a_column_that_was_missing_loses_nothing(first: Tenant) -> None:
    """This CRM had no `sender_name` and no `metadata`: the old code lost more than these two."""
    first.apply(
        first.sent(
            task_id="T1", sender_name="Olga", phone="79995550000", file_url="https://x/1.jpg"
        )
    )
    (row,) = first.rows("select * from chat_messages where external_message_id = 'T1'")
    assert (row["sender_name"], row["file_url"], row["messenger_type"]) == (
        "Olga",
        "https://x/1.jpg",
        "whatsapp",
    )
    assert (row["message_status"], row["metadata"]["integration_id"]) == (
        "sent",
        str(first.integration),
    )


def test_migrating_again_changes_nothing(crm_url: str) -> None:
    """Each file may be run by hand on a database that already has it."""
    assert migrate(crm_url, MIGRATIONS) == []
    with psycopg.connect(crm_url) as connection:
        for path in sorted(MIGRATIONS.glob("*.sql")):
            connection.execute(path.read_bytes())
            connection.commit()


def test_an_account_in_two_organizations_belongs_to_the_one_that_had_it_first(
    crm: Db, first: Tenant
) -> None:
    first.apply(first.arrived(wa_message_id="W5", phone="79995550000"))
    (row,) = crm.execute("select * from chat_messages where external_message_id = 'W5'").fetchall()
    assert row["organization_id"] == FIRST


def test_an_account_belongs_to_the_one_number_that_has_it(crm: Db) -> None:
    """A look-up of an account, and a copy of all accounts, find one organization for it."""
    rows = crm.execute(
        "select name, account, region from wpp_integrations order by name"
    ).fetchall()
    assert rows == []  # nobody's, without a user
    crm.execute("set local role service_role")
    rows = crm.execute(
        "select name, account, region from wpp_integrations where name in ('Old', 'Thief') order "
        "by 1"
    ).fetchall()
    assert [(row["name"], row["account"], row["region"]) for row in rows] == [
        ("Old", ACCOUNT, "RU"),
        ("Thief", None, "RU"),
    ]


def test_a_phone_that_another_organization_has_gets_a_client_all_the_same(
    crm: Db, second: Tenant
) -> None:
    """The CRM allows a phone once in all: the second client has it as a further number."""
    crm.execute(
        "insert into clients (organization_id, name, phone) values (%s, 'Theirs', '79991112233')",
        (FIRST,),
    )
    for text in ("one", "two"):
        second.apply(
            second.arrived(wa_message_id=text, phone="79991112233", text=text, peer_name="Petr")
        )
    rows = second.rows(
        "select client_id, metadata from chat_messages where external_message_id in ('one', 'two')"
    )
    assert rows[0]["client_id"] == rows[1]["client_id"]
    assert second.rows(
        "select organization_id, name, phone from clients where id = %s", rows[0]["client_id"]
    ) == [{"organization_id": SECOND, "name": "Petr", "phone": None}]
    assert "contact" not in rows[0]["metadata"]


@pytest.mark.parametrize("watched", ["insert", "insert or update"])
def test_a_client_that_a_trigger_of_the_crm_refuses_loses_no_message(
    crm: Db, first: Tenant, watched: str
) -> None:
    """Two organizations have this phone from before the rule: updates of both clients raise 23505.

    Where the CRM's trigger watches inserts only, the messages have the client in the end; where it
    watches updates as well, their metadata names the client.
    """
    crm.execute(
        f"create or replace trigger note_last_message after {watched} on chat_messages "
        "for each row execute function note_last_message()".encode()
    )
    with pytest.raises(psycopg.errors.UniqueViolation), crm.transaction():
        crm.execute("update clients set name = name where organization_id = %s", (FIRST,))
    first.apply(
        *(
            first.arrived(wa_message_id=f"N{n}", phone=PHONE if n else "79994445566")
            for n in range(3)
        )
    )
    rows = first.rows(
        "select client_id, metadata from chat_messages where external_message_id like 'N%%'"
    )
    (client,) = first.rows(
        "select id from clients where organization_id = %s and name = 'Twice'", FIRST
    )
    theirs = [row for row in rows if row["metadata"].get("contact") == "conflict"]
    assert (len(rows), len(theirs)) == (3, 2)
    assert {row["metadata"]["client_id"] for row in theirs} == {str(client["id"])}
    assert {row["client_id"] for row in theirs} == {client["id"] if watched == "insert" else None}


def test_a_first_organization_s_deleted_client_can_come_back_as_far_as_the_crm_lets_it(
    crm: Db, first: Tenant
) -> None:
    crm.execute(
        "insert into clients (organization_id, name, phone, is_active) values (%s, 'Gone', "
        "'79997778899', false)",
        (FIRST,),
    )
    first.apply(first.arrived(wa_message_id="G1", phone="79997778899"))
    assert first.rows("select is_active from clients where name = 'Gone'") == [{"is_active": True}]


def test_the_crm_s_enums_and_checks_accept_our_states(crm: Db, first: Tenant) -> None:
    first.apply(
        first.sent("unknown", phone="79995550000", task_id="T1"),
        first.status("deleted", 1, "T1"),
        first.session("starting", 1),
    )
    assert first.rows(
        "select message_status from chat_messages where external_message_id = 'T1'"
    ) == [{"message_status": "deleted"}]
    with pytest.raises(psycopg.errors.CheckViolation):
        crm.execute("update whatsapp_sessions set status = 'nonsense'")


def test_a_duplicated_session_is_updated(first: Tenant) -> None:
    for status, second in (("qr_issued", 1), ("connected", 2), ("qr_issued", 1)):
        first.apply(first.session(status, second))
    rows = first.rows("select status from whatsapp_sessions where status_at = %s", at(2))
    assert rows == [{"status": "connected"}]


def test_of_two_rows_with_one_external_id_one_takes_the_status(first: Tenant) -> None:
    first.apply(first.status("read", 1, "W1"))
    rows = first.rows(
        "select message_status from chat_messages where external_message_id = 'W1' and "
        "organization_id = %s",
        FIRST,
    )
    assert sorted(row["message_status"] for row in rows) == ["read", "sent"]


def test_an_old_message_can_still_be_reacted_to(first: Tenant) -> None:
    first.apply(first.reaction("🔥", 1, "W1"))
    rows = first.rows("select emoji from message_reactions where emoji = '🔥'")
    assert len(rows) == 1


def test_a_teacher_s_message_needs_no_client(crm: Db, first: Tenant) -> None:
    teacher = uuid4()
    crm.execute(
        "insert into teachers (id, organization_id, first_name, phone) values (%s, %s, 'Olga', "
        "'8-999-777-00-00')",
        (teacher, FIRST),
    )
    first.apply(first.arrived(wa_message_id="T9", phone="79997770000"))
    (row,) = first.rows(
        "select client_id, teacher_id from chat_messages where external_message_id = 'T9'"
    )
    assert row == {"client_id": None, "teacher_id": teacher}


def test_policies_of_the_crm_stay_as_they_are(crm: Db) -> None:
    policies = crm.execute(
        "select c.relname, p.polname from pg_policy p join pg_class c on c.oid = p.polrelid "
        "where c.relname in ('clients', 'teachers') order by 1"
    ).fetchall()
    assert [(row["relname"], row["polname"]) for row in policies] == [
        ("clients", "managers see their branch"),
        ("teachers", "wpp_own_organization"),
    ]


def test_users_of_the_crm_no_longer_read_keys(crm: Db, first: Tenant) -> None:
    """The keys and tokens of the old rows were in `settings`; now users see a mask."""
    kept = crm.execute("select wpp_settings(%s) as it", (first.account,)).fetchone()
    assert kept
    secrets = {
        name: value for name, value in kept["it"].items() if name in {"wppApiKey", "wppJwtToken"}
    }
    assert secrets
    rows = crm.execute("select * from messenger_integrations where provider = 'wpp'").fetchall()
    assert not [row for row in rows if set(secrets.values()) & set(row["settings"].values())]
    crm.execute("set local role authenticated")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        crm.execute("select * from wpp.integration_secrets")

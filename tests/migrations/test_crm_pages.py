"""What the CRM's pages read and write by themselves."""

from typing import Any
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from sandbox.supabase.project import MIGRATIONS
from tests.migrations.conftest import Db, Tenant

PAGES = (MIGRATIONS / "20261121000019_crm_pages.sql").read_bytes()
FORMER_PROVIDER = (MIGRATIONS / "20261121000132_former_provider.sql").read_bytes()


def settings(tenant: Tenant) -> list[dict[str, Any]]:
    return tenant.rows(
        "select messenger_type, provider, is_enabled, settings from messenger_settings "
        "where organization_id = %s",
        tenant.id,
    )


def add_other_provider(tenant: Tenant, *, is_primary: bool = False) -> None:
    tenant.db.execute(
        "insert into messenger_integrations (organization_id, messenger_type, provider, name, "
        "is_primary) values (%s, 'whatsapp', 'green_api', 'Other', %s)",
        (tenant.id, is_primary),
    )


def test_a_connected_number_opens_the_chat_s_gate(tenant: Tenant) -> None:
    """Enabled, with the marks that the chat asks for; a disabled number closes it."""
    [row] = settings(tenant)
    assert (row["messenger_type"], row["provider"], row["is_enabled"]) == ("whatsapp", "wpp", True)
    assert row["settings"]["wppBaseUrl"]
    assert row["settings"]["wppApiKey"].startswith("••")
    assert row["settings"]["wppSession"] == tenant.account
    tenant.db.execute("update messenger_integrations set is_enabled = false")
    assert [each["is_enabled"] for each in settings(tenant)] == [False]
    tenant.db.execute("update messenger_integrations set is_active = true")
    assert [each["is_enabled"] for each in settings(tenant)] == [True]
    tenant.db.execute("select wpp_remove_integration(%s, %s)", (tenant.integration, tenant.id))
    assert [each["is_enabled"] for each in settings(tenant)] == [False]


def test_the_settings_of_another_provider_stay(db: Db) -> None:
    """While it is the primary; what the row holds besides our marks stays in any case."""
    tenant = Tenant(db, "0000000000043")
    db.execute("insert into organizations (id, name) values (%s, 'School')", (tenant.id,))
    add_other_provider(tenant, is_primary=True)
    db.execute(
        "insert into messenger_settings (organization_id, messenger_type, provider, is_enabled, "
        "settings) values (%s, 'whatsapp', 'greenapi', true, %s)",
        (tenant.id, Jsonb({"instanceId": "7"})),
    )
    db.execute(
        "select wpp_save_integration(%s, %s, 'First', %s, 'key')",
        (tenant.integration, tenant.id, tenant.account),
    )
    [row] = settings(tenant)
    assert (row["provider"], row["settings"]) == ("greenapi", {"instanceId": "7"})
    db.execute("select wpp_set_primary(%s, %s)", (tenant.integration, tenant.id))
    [row] = settings(tenant)
    assert (row["provider"], row["settings"]["instanceId"]) == ("wpp", "7")


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("is_primary", [True, False])
def test_the_settings_are_as_before_after_the_last_number_is_removed(
    db: Db, *, enabled: bool, is_primary: bool
) -> None:
    """The former provider, and no mark of WPP: whether an integration of it is left or not."""
    tenant = Tenant(db, "0000000000045")
    db.execute("insert into organizations (id, name) values (%s, 'School')", (tenant.id,))
    db.execute(
        "insert into messenger_settings (organization_id, messenger_type, provider, is_enabled, "
        "settings) values (%s, 'whatsapp', 'green_api', %s, %s)",
        (tenant.id, enabled, Jsonb({"instanceId": "7"})),
    )
    before = settings(tenant)
    if is_primary:
        add_other_provider(tenant)
    numbers = [(tenant.integration, tenant.account), (uuid4(), "0000000000046")]
    for number, account in numbers:
        db.execute(
            "select wpp_save_integration(%s, %s, 'First', %s, 'key')", (number, tenant.id, account)
        )
        db.execute("select wpp_set_primary(%s, %s)", (number, tenant.id))
        [row] = settings(tenant)
        assert (row["provider"], row["is_enabled"]) == ("wpp", True)
    if is_primary:
        db.execute("update messenger_integrations set is_primary = false")
        db.execute("update messenger_integrations set is_primary = provider = 'green_api'")
    for number, _ in numbers:
        db.execute("select wpp_remove_integration(%s, %s)", (number, tenant.id))
    assert settings(tenant) == before


def test_settings_that_began_with_wpp_follow_the_provider_that_is_left(tenant: Tenant) -> None:
    """The gate of the chat stays open for it, without the marks of the removed number."""
    add_other_provider(tenant)
    tenant.db.execute("select wpp_remove_integration(%s, %s)", (tenant.integration, tenant.id))
    [row] = settings(tenant)
    assert (row["provider"], row["is_enabled"], row["settings"]) == ("green_api", True, {})


def test_the_settings_of_numbers_that_were_removed_before_are_mended(tenant: Tenant) -> None:
    """By the migration, once."""
    [stale] = settings(tenant)
    tenant.db.execute("select wpp_remove_integration(%s, %s)", (tenant.integration, tenant.id))
    add_other_provider(tenant)
    tenant.db.execute(
        "update messenger_settings set is_enabled = true, settings = %s",
        (Jsonb(stale["settings"]),),
    )
    for _ in range(2):
        tenant.db.execute(FORMER_PROVIDER)
        [row] = settings(tenant)
        assert (row["provider"], row["is_enabled"], row["settings"]) == ("green_api", True, {})


def test_a_table_of_settings_that_refuses_us_keeps_no_number_from_connecting(db: Db) -> None:
    """The CRM may have other columns and rules in this table."""
    with db.transaction(force_rollback=True):
        db.execute("alter table messenger_settings add column theirs text not null")
        tenant = Tenant(db, "0000000000044").connect()
        assert settings(tenant) == []
        assert tenant.rows(
            "select id from messenger_integrations where id = %s", tenant.integration
        )


def page_writes(db: Db, tenant: Tenant, message_id: Any, metadata: Any) -> None:
    """Write a message's metadata as a signed-in member of the organization."""
    user = uuid4()
    db.execute("insert into profiles (id, organization_id) values (%s, %s)", (user, tenant.id))
    with db.transaction():
        db.execute("select set_config('request.jwt.claims', %s, true)", (f'{{"sub": "{user}"}}',))
        db.execute("set local role authenticated")
        changed = db.execute(
            "update chat_messages set metadata = %s where id = %s returning id",
            (Jsonb(metadata), message_id),
        )
        assert len(changed.fetchall()) == 1


def test_a_page_that_rewrites_metadata_keeps_ours(db: Db, tenant: Tenant) -> None:
    """It had read the metadata before we wrote; its own keys are stored."""
    message = tenant.sent(task_id="T1", metadata={"retry_count": 99})
    tenant.apply(message)
    before = tenant.message()["metadata"]
    tenant.apply(tenant.status("read", 1, "T1", wa_message_id="W1"), tenant.reaction("👍", 2, "T1"))
    page_writes(db, tenant, message.id, {"retry_count": 1, "is_edited": True, "theirs": 1})
    after = tenant.message()["metadata"]
    assert after["reactions"]
    assert {name: after[name] for name in before} == before
    assert (after["retry_count"], after["is_edited"], after["theirs"]) == (99, True, 1)
    tenant.apply(tenant.reaction("❤️", 1, "T1"))  # older: the time of the newer one is not lost
    assert tenant.message()["metadata"]["reactions"] == after["reactions"]


@pytest.mark.parametrize(
    "written",
    [{"echo": True, "echoed": "2099-01-01T00:00:00Z", "waMessageId": "W9"}, ["echo"], "echo", 7],
    ids=["object", "array", "text", "number"],
)
def test_a_page_adds_nothing_that_the_pipeline_decides_by(
    db: Db, tenant: Tenant, written: Any
) -> None:
    """Our own message does not become one that was written on the phone, and keeps its keys."""
    message = tenant.sent(task_id="T1")
    tenant.apply(message)
    before = tenant.message()["metadata"]
    page_writes(db, tenant, message.id, written)
    assert tenant.message()["metadata"] == before


def test_a_page_s_own_row_is_its_own(db: Db, tenant: Tenant) -> None:
    """A message that the pipeline has not sent may lose keys."""
    message_id = uuid4()
    db.execute(
        "insert into chat_messages (id, organization_id, message_text, message_type, metadata) "
        "values (%s, %s, 'Hi', 'manager', %s)",
        (message_id, tenant.id, Jsonb({"retry_count": 2})),
    )
    page_writes(db, tenant, message_id, {})
    assert tenant.message()["metadata"] == {}


def test_a_reaction_is_upserted_by_message_and_user(db: Db, tenant: Tenant) -> None:
    """As the page does it: one reaction of a user per message; clients' reactions beside it."""
    tenant.apply(tenant.arrived(wa_message_id="W1"), tenant.reaction("👍", 1, "W1"))
    user = uuid4()
    for emoji in ("🔥", "😂"):
        db.execute(
            "insert into message_reactions (message_id, user_id, emoji) values (%s, %s, %s) "
            "on conflict (message_id, user_id) do update set emoji = excluded.emoji",
            (tenant.message()["id"], user, emoji),
        )
    rows = tenant.rows("select user_id, emoji from message_reactions order by user_id nulls last")
    assert [(row["user_id"], row["emoji"]) for row in rows] == [(user, "😂"), (None, "👍")]


def test_the_chat_s_columns_are_there(db: Db) -> None:
    """Those that its query names; a fresh project has no more than these."""
    db.execute(
        "select id, client_id, teacher_id, message_text, message_type, system_type, is_read, "
        "created_at, file_url, file_name, file_type, external_message_id, messenger_type, "
        "call_duration, message_status, metadata, sender_name, sender_id, is_outgoing "
        "from chat_messages"
    )


@pytest.mark.parametrize("published", ["", "for table chat_messages"], ids=["empty", "known"])
def test_the_chat_is_published_where_realtime_exists(db: Db, published: str) -> None:
    """Once; a project without that publication gets none."""
    with db.transaction(force_rollback=True):
        db.execute("drop publication supabase_realtime")
        db.execute(f"create publication supabase_realtime {published}".encode())
        db.execute(PAGES)
        rows = db.execute(
            "select tablename from pg_publication_tables where pubname = 'supabase_realtime'"
        ).fetchall()
        assert [row["tablename"] for row in rows] == ["chat_messages"]


@pytest.mark.parametrize(
    ("digits", "is_found"),
    [("79990001122", True), ("89990001122", True), ("9990001122", True), ("79990001133", False)],
)
def test_the_organization_of_a_phone(tenant: Tenant, digits: str, is_found: bool) -> None:  # noqa: FBT001
    """In every usual spelling; an unknown phone has none."""
    tenant.add_client("+7 (999) 000-11-22")
    [found] = tenant.rows("select wpp_find_organization_by_phone(%s) as id", digits)
    assert found["id"] == (tenant.id if is_found else None)


def test_a_phone_of_two_organizations_has_none(tenant: Tenant, other: Tenant) -> None:
    """A server that names the phone alone has to name its organization too."""
    tenant.add_client("79990001122")
    other.add_client("89990001122")
    [found] = tenant.rows("select wpp_find_organization_by_phone('79990001122') as id")
    assert found["id"] is None


FURTHER = "insert into client_phone_numbers (client_id, phone) values (%s, %s)"


@pytest.mark.parametrize("stored", ["79990001133", "8 (999) 000-11-33", "+7 999 0001133"])
def test_the_organization_of_a_further_phone(tenant: Tenant, other: Tenant, stored: str) -> None:
    """Of an active client, in every usual spelling; a client of a second one makes it unclear."""
    client = tenant.add_client("79990001122")
    tenant.db.execute(FURTHER, (client, stored))

    def found() -> Any:
        [row] = tenant.rows("select wpp_find_organization_by_phone('79990001133') as id")
        return row["id"]

    assert found() == tenant.id
    theirs = other.add_client(None)
    other.db.execute(FURTHER, (theirs, "79990001133"))
    assert found() is None
    tenant.db.execute("update clients set is_active = false where id = %s", (client,))
    assert found() == other.id


def test_the_organization_of_a_phone_is_found_by_indexes(tenant: Tenant) -> None:
    """Also where a table was analyzed while it was empty, and then filled."""
    db = tenant.db
    with db.transaction(force_rollback=True):
        db.execute("analyze clients, teachers, client_phone_numbers")
        db.execute(
            "insert into clients (id, organization_id, name, phone) select gen_random_uuid(), %s, "
            "'Anna', '7999' || lpad(n::text, 7, '0') from generate_series(1, 20000) n",
            (tenant.id,),
        )
        client = tenant.add_client(None)
        db.execute(FURTHER, (client, "78880001133"))
        read = (
            "select coalesce(sum(seq_tup_read), 0) as rows from pg_stat_xact_user_tables "
            "where relname in ('clients', 'teachers', 'client_phone_numbers')"
        )
        [before] = tenant.rows(read)
        [row] = tenant.rows("select wpp_find_organization_by_phone('78880001133') as id")
        assert row["id"] == tenant.id
        assert tenant.rows(read) == [before]

"""Access over the API: users of two organizations, and the anonymous key."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast
from uuid import uuid4

import pytest
import supabase
from postgrest.exceptions import APIError

from shared.outcomes import DeadLetterOutcome
from tests.migrations.conftest import Db, Tenant, at

MakeClient = Callable[..., supabase.Client]
OWN_ROWS = (
    "organizations",
    "profiles",
    "messenger_integrations",
    "wpp_integrations",
    "whatsapp_sessions",
    "clients",
    "teachers",
    "client_phone_numbers",
    "chat_messages",
    "message_reactions",
    "wpp_message_ids",
    "wpp_message_history",
    "wpp_session_history",
    "wpp_dead_letters",
)
NOBODY_S_ROWS = (
    "wpp_accounts",
    "wpp_callbacks",
    "wpp_callback_deliveries",
    "wpp_files",
    "wpp_operator_keys",
    "wpp_service_keys",
    "wpp_webhook_log",
)
DENIED = "42501"


def fill(tenant: Tenant) -> None:
    """Insert at least one row of this organization into every table."""
    tenant.apply(
        tenant.arrived(wa_message_id="W1"),
        tenant.reaction("👍", 1, "W1"),
        tenant.session("connected", 1),
        tenant.status("read", 1, "W404"),
        DeadLetterOutcome(
            at=at(1),
            id=uuid4(),
            organization_id=tenant.id,
            kind="send",
            lane="send:1",
            reason="refused",
            detail="why",
            attempts=1,
            accepted_at=at(0),
            event={},
        ),
    )
    tenant.db.execute(
        "insert into client_phone_numbers (client_id, phone) select id, '79990003344' from clients "
        "where organization_id = %s",
        (tenant.id,),
    )
    tenant.db.execute(
        "insert into teachers (organization_id, first_name) values (%s, 'Olga')", (tenant.id,)
    )


def sign_in(tenant: Tenant, make_client: MakeClient, email: str) -> supabase.Client:
    client = make_client()
    user = client.auth.sign_up({"email": email, "password": "correct horse"}).user
    assert user
    tenant.db.execute(
        "insert into profiles (id, organization_id) values (%s, %s)", (user.id, tenant.id)
    )
    return client


@pytest.fixture
def users(tenant: Tenant, other: Tenant, make_client: MakeClient) -> dict[str, supabase.Client]:
    """Return signed-in users: one of each organization, and one without an organization."""
    fill(tenant)
    fill(other)
    stranger = make_client()
    stranger.auth.sign_up({"email": "nobody@example.org", "password": "correct horse"})
    return {
        str(tenant.id): sign_in(tenant, make_client, "anna@example.org"),
        str(other.id): sign_in(other, make_client, "boris@example.org"),
        "none": stranger,
    }


def user_id(client: supabase.Client) -> str:
    answer = client.auth.get_user()
    assert answer
    return str(answer.user.id)


def read(
    client: supabase.Client, table: str, columns: str | None = None
) -> list[dict[str, Any]] | None:
    """Return the rows of a table that a client sees, or None when access is refused."""
    readable = {
        "messenger_integrations": "id, organization_id, name, is_primary",
        "wpp_dead_letters": "id, organization_id, kind, reason, detail, at, replayed_at",
    }
    try:
        data = client.table(table).select(columns or readable.get(table, "*")).execute().data
    except APIError as error:
        if error.code != DENIED:
            raise
        return None
    return cast("list[dict[str, Any]]", data)


def test_users_see_the_rows_of_their_own_organization_only(
    tenant: Tenant, other: Tenant, users: dict[str, supabase.Client]
) -> None:
    for table in OWN_ROWS:
        one, two, none = (
            read(users[str(tenant.id)], table),
            read(users[str(other.id)], table),
            read(users["none"], table),
        )
        assert none == [], table
        assert one, table
        assert two, table
        assert {row.get("organization_id", str(tenant.id)) for row in one} == {str(tenant.id)}, (
            table
        )
        assert [row for row in one if row in two] == [], table


@pytest.fixture
def lenient_crm(db: Db) -> Iterator[None]:
    """Let users write their own profile, as in a CRM whose policies ignore columns."""
    db.execute("grant insert, update on profiles to authenticated")
    db.execute(
        "create policy own_profile on profiles for all to authenticated using (id = auth.uid())"
    )
    yield
    db.execute("drop policy own_profile on profiles")
    db.execute("revoke insert, update on profiles from authenticated")


def organization_of(tenant: Tenant, user: str) -> str | None:
    (row,) = tenant.rows("select organization_id::text as it from profiles where id = %s", user)
    found: str | None = row["it"]
    return found


@pytest.mark.usefixtures("lenient_crm")
def test_users_cannot_choose_their_organization(
    tenant: Tenant, other: Tenant, users: dict[str, supabase.Client]
) -> None:
    """Members of another organization and new users are refused; a server may assign them."""
    anna, stranger = users[str(tenant.id)], users["none"]
    her_id, their_id = user_id(anna), user_id(stranger)
    tries: list[Any] = [
        anna.table("profiles").update({"organization_id": str(other.id)}).eq("id", her_id),
        anna.table("profiles").upsert({"id": her_id, "organization_id": str(other.id)}),
        stranger.table("profiles").insert({"id": their_id, "organization_id": str(other.id)}),
    ]
    for attempt in tries:
        with pytest.raises(APIError, match="users cannot choose their own organization") as refused:
            attempt.execute()
        assert refused.value.code == DENIED
    assert organization_of(tenant, her_id) == str(tenant.id)
    tenant.db.execute("update profiles set organization_id = %s where id = %s", (other.id, her_id))
    assert organization_of(tenant, her_id) == str(other.id)


@pytest.mark.usefixtures("lenient_crm")
def test_users_can_edit_the_rest_of_their_profile(
    tenant: Tenant, users: dict[str, supabase.Client]
) -> None:
    """An update may repeat the current organization; a new profile may have none."""
    anna, stranger = users[str(tenant.id)], users["none"]
    her_id, their_id = user_id(anna), user_id(stranger)
    whole = {"id": her_id, "organization_id": str(tenant.id), "email": "anna@example.com"}
    anna.table("profiles").upsert(whole).execute()
    anna.table("profiles").update({"email": "new@example.com"}).eq("id", her_id).execute()
    stranger.table("profiles").insert({"id": their_id, "email": "nobody@example.com"}).execute()
    assert read(anna, "profiles", "email") == [{"email": "new@example.com"}]
    assert organization_of(tenant, their_id) is None


def test_users_do_not_see_the_pipeline_s_own_records(users: dict[str, supabase.Client]) -> None:
    seen = {table: read(client, table) for table in NOBODY_S_ROWS for client in users.values()}
    assert seen == dict.fromkeys(NOBODY_S_ROWS)


def test_the_anonymous_key_sees_nothing(tenant: Tenant, make_client: MakeClient) -> None:
    fill(tenant)
    seen = {table: read(make_client(), table) or [] for table in OWN_ROWS + NOBODY_S_ROWS}
    assert seen == {table: [] for table in seen}


def test_users_never_read_a_key(tenant: Tenant, users: dict[str, supabase.Client]) -> None:
    """They read their own organization's rows whole, as the CRM's pages do, with masked keys."""
    mine = users[str(tenant.id)]
    [row] = read(mine, "messenger_integrations", "*") or []
    assert row["settings"] == {"wppApiKey": "••••••••", "wppAccountNumber": tenant.account}
    assert "key" not in row.values()


def test_users_see_the_reason_of_a_dead_letter_without_its_event(
    tenant: Tenant, users: dict[str, supabase.Client]
) -> None:
    """The event of a failed webhook contains its pairing code, which gives access to the number."""
    mine = users[str(tenant.id)]
    assert read(mine, "wpp_dead_letters", "reason, detail") == [
        {"reason": "refused", "detail": "why"}
    ]
    for columns in ("event", "event->payload", "*"):
        assert read(mine, "wpp_dead_letters", columns) is None, columns


def test_users_cannot_find_a_key_by_guessing(
    tenant: Tenant, users: dict[str, supabase.Client]
) -> None:
    """A filter finds the masked key only: it confirms no guess."""
    table = users[str(tenant.id)].table("messenger_integrations")
    assert table.select("id").eq("settings->>wppApiKey", "key").execute().data == []


def test_users_read_integrations_without_keys(
    tenant: Tenant, users: dict[str, supabase.Client]
) -> None:
    (row,) = read(users[str(tenant.id)], "wpp_integrations") or []
    assert (row["account"], row["status"], row["is_primary"]) == (tenant.account, "connected", True)
    assert "key" not in row.values()


def everything(tenant: Tenant, table: str) -> list[dict[str, Any]]:
    return tenant.rows(f"select * from {table} order by 1")  # noqa: S608 - constant names


def test_users_do_not_write_what_the_pipeline_owns(
    tenant: Tenant, other: Tenant, users: dict[str, supabase.Client]
) -> None:
    """A user who writes a profile or an account would choose whose data they see."""
    wanted = {
        "profiles": {"organization_id": str(other.id)},
        "messenger_integrations": {"name": "Mine"},
        "whatsapp_sessions": {"session_name": "mine"},
        "wpp_dead_letters": {"reason": "none"},
        "wpp_accounts": {"organization_id": str(other.id)},
    }
    before = {table: everything(tenant, table) for table in wanted}
    for table, row in wanted.items():
        with contextlib.suppress(APIError):
            users[str(tenant.id)].table(table).update(row).neq(*next(iter(row.items()))).execute()
    after = {table: everything(tenant, table) for table in wanted}
    assert after == before


def test_users_do_not_write_into_another_organization(
    tenant: Tenant, other: Tenant, users: dict[str, supabase.Client]
) -> None:
    mine = users[str(tenant.id)]
    assert (
        mine.table("clients")
        .update({"name": "Mine"})
        .eq("organization_id", str(other.id))
        .execute()
        .data
        == []
    )
    with pytest.raises(APIError) as caught:
        mine.table("clients").insert(
            {"organization_id": str(other.id), "name": "Planted"}
        ).execute()
    assert caught.value.code == DENIED


def test_only_the_service_role_calls_our_functions(tenant: Tenant) -> None:
    may_call = (
        "select distinct p.proname from pg_proc p, unnest(%s::text[]) as who "
        "where (p.proname like 'wpp\\_%%' or p.pronamespace = 'wpp'::regnamespace) and "
        "has_function_privilege(who, p.oid, 'execute') order by 1"
    )
    others = tenant.rows(may_call, ["anon", "authenticated"])
    assert [row["proname"] for row in others] == [
        *("digits", "mark_country_code", "my_organization", "split_numbers", "stored_numbers")
    ]
    assert len(tenant.rows(may_call, ["service_role"])) > 20


def test_users_are_refused_at_the_functions(
    tenant: Tenant, users: dict[str, supabase.Client], make_client: MakeClient
) -> None:
    calls: dict[str, dict[str, Any]] = {
        "wpp_apply": {"batch": []},
        "wpp_settings": {"account": tenant.account},
        "wpp_save_token": {"account": tenant.account, "token": "x", "expires_at_ms": 1},
        "wpp_remove_integration": {
            "integration_id": str(tenant.integration),
            "organization_id": str(tenant.id),
        },
        "wpp_examine": {"tables": ["chat_messages"]},
    }
    for client in (make_client(), *users.values()):
        for function, arguments in calls.items():
            with pytest.raises(APIError) as caught:
                client.rpc(function, arguments).execute()
            assert caught.value.code == DENIED, function


def test_every_definer_has_a_fixed_search_path(tenant: Tenant) -> None:
    loose = tenant.rows(
        "select proname from pg_proc "
        "where (proname like 'wpp\\_%%' or pronamespace = 'wpp'::regnamespace) and prosecdef "
        "and not exists (select from unnest(proconfig) as setting where setting like "
        "'search_path=%%')"
    )
    assert loose == []


def test_every_table_has_row_security(tenant: Tenant) -> None:
    open_tables = tenant.rows(
        "select relname from pg_class "
        "where relnamespace in ('public'::regnamespace, 'wpp'::regnamespace) and relkind = 'r' "
        "and not relrowsecurity"
    )
    assert open_tables == []


def test_the_bucket_for_media_is_private(tenant: Tenant) -> None:
    assert tenant.rows("select public from storage.buckets where id = 'chat-media'") == [
        {"public": False}
    ]

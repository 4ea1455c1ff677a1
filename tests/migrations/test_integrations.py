"""Saving, changing and removing integrations, also at the same moment."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.migrations.conftest import PHONE, Tenant, at


def save(tenant: Tenant, integration: UUID, account: str | None, **given: Any) -> None:
    tenant.db.execute(
        "select wpp_save_integration(id => %s, organization_id => %s, account => %s, api_key => "
        "%s, sub_org_id => %s, "
        "is_enabled => %s)",
        (
            integration,
            tenant.id,
            account,
            given.get("api_key"),
            given.get("sub_org_id"),
            given.get("is_enabled"),
        ),
    )


def integrations(tenant: Tenant) -> list[dict[str, Any]]:
    """Return an organization's integrations, their secrets among their settings."""
    return tenant.rows(
        "select i.*, i.settings || coalesce(s.secrets, '{}') as settings "
        "from messenger_integrations i "
        "left join wpp.integration_secrets s on s.integration_id = i.id "
        "where organization_id = %s order by created_at, id",
        tenant.id,
    )


def at_once(database_url: str, *calls: tuple[str, tuple[Any, ...]]) -> None:
    def run(call: tuple[str, tuple[Any, ...]]) -> None:
        with psycopg.connect(database_url, autocommit=True) as db:
            db.execute(call[0].encode(), call[1])

    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(run, calls))


def test_the_first_integration_is_primary_and_stays_so(tenant: Tenant) -> None:
    save(tenant, uuid4(), "0000000000051", sub_org_id="x__wpp__1")
    first, second = integrations(tenant)
    assert (first["is_primary"], second["is_primary"]) == (True, False)
    assert first["settings"] == {"wppApiKey": "key", "wppAccountNumber": tenant.account}
    assert second["settings"] == {"wppSubOrgId": "x__wpp__1", "wppAccountNumber": "0000000000051"}
    assert first["webhook_key"] != second["webhook_key"]


def test_another_provider_s_primary_stays_primary(tenant: Tenant) -> None:
    tenant.db.execute("delete from messenger_integrations")
    tenant.db.execute(
        "insert into messenger_integrations (organization_id, messenger_type, provider, name, "
        "is_primary) "
        "values (%s, 'whatsapp', 'green_api', 'Other', true)",
        (tenant.id,),
    )
    save(tenant, tenant.integration, tenant.account)
    assert [(row["provider"], row["is_primary"]) for row in integrations(tenant)] == [
        ("green_api", True),
        ("wpp", False),
    ]


def test_saving_again_changes_what_is_given_and_drops_the_old_key_s_token(tenant: Tenant) -> None:
    tenant.db.execute("select wpp_save_token(%s, 'jwt', 1)", (tenant.account,))
    save(tenant, tenant.integration, None)
    assert integrations(tenant)[0]["settings"]["wppJwtToken"] == "jwt"
    save(tenant, tenant.integration, "0000000000052", api_key="new")
    (row,) = integrations(tenant)
    assert row["settings"] == {"wppApiKey": "new", "wppAccountNumber": "0000000000052"}
    assert (row["name"], row["is_primary"]) == ("First", True)


def test_integrations_saved_at_once_have_one_primary(tenant: Tenant, database_url: str) -> None:
    tenant.db.execute("delete from messenger_integrations")
    call = "select wpp_save_integration(%s, %s, 'New', %s)"
    at_once(database_url, *((call, (uuid4(), tenant.id, f"00000000001{n:02}")) for n in range(8)))
    rows = integrations(tenant)
    assert len(rows) == 8
    assert sum(row["is_primary"] for row in rows) == 1


def test_a_primary_that_the_crm_makes_meanwhile_stays_primary(
    tenant: Tenant, database_url: str
) -> None:
    tenant.db.execute("delete from messenger_integrations")
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_url) as crm:
        crm.execute(
            "insert into messenger_integrations (organization_id, messenger_type, provider, name, "
            "is_primary) "
            "values (%s, 'whatsapp', 'green_api', 'Other', true)",
            (tenant.id,),
        )
        saving = pool.submit(save, tenant, tenant.integration, tenant.account)
        with pytest.raises(TimeoutError):  # it waits for the CRM's transaction
            saving.result(timeout=0.3)
        crm.commit()
        saving.result(timeout=10)
    assert {row["provider"]: row["is_primary"] for row in integrations(tenant)} == {
        "green_api": True,
        "wpp": False,
    }


def test_one_integration_saved_at_once_by_several_is_one(tenant: Tenant, database_url: str) -> None:
    new = uuid4()
    call = "select wpp_save_integration(%s, %s, 'New', '0000000000061', 'key')"
    at_once(database_url, *[(call, (new, tenant.id))] * 8)
    assert len(integrations(tenant)) == 2


SAVE_TOKEN = "select wpp_save_token(%s, %s, %s) as kept"


def spoil(tenant: Tenant, **settings: Any) -> None:
    """Change settings as the CRM does, without a lock."""
    tenant.db.execute(
        "update messenger_integrations set settings = settings || %s", (Jsonb(settings),)
    )


def test_a_later_token_is_never_overwritten_by_an_earlier_one(tenant: Tenant) -> None:
    """Of two saves that overtake each other, the newer token stays."""
    kept = [
        tenant.rows(SAVE_TOKEN, tenant.account, f"t{end}", end)[0]["kept"]
        for end in (10, 20, 15, 20)
    ]
    assert kept == [True, True, False, True]
    assert integrations(tenant)[0]["settings"]["wppJwtToken"] == "t20"


@pytest.mark.parametrize(
    "end",
    [
        3_600_000,
        "3600000",
        10**15,
        10**300,
        "soon",
        "",
        None,
        True,
        1.5,
        "-5",
        "9" * 400,
        {"a": 1},
        ["1"],
    ],
)
def test_a_new_token_is_saved_over_an_end_written_by_the_crm(tenant: Tenant, end: object) -> None:
    """An hour by default, an end in the far future, or an invalid end."""
    spoil(tenant, wppJwtToken="the CRM's", wppJwtExpiresAt=end)
    assert tenant.rows(SAVE_TOKEN, tenant.account, "ours", 900_000) == [{"kept": True}]
    settings = integrations(tenant)[0]["settings"]
    assert (settings["wppJwtToken"], settings["wppJwtExpiresAt"]) == ("ours", 900_000)


@pytest.mark.parametrize("token", ["", None])
def test_an_end_without_a_token_blocks_no_save(tenant: Tenant, token: str | None) -> None:
    spoil(tenant, wppJwtToken=token, wppJwtExpiresAt=900_001)
    assert tenant.rows(SAVE_TOKEN, tenant.account, "ours", 900_000) == [{"kept": True}]


def test_a_token_saved_while_another_key_changes_leaves_that_change(
    tenant: Tenant, database_url: str
) -> None:
    """Neither waits for the second, and neither overwrites what the second wrote."""
    change = "update messenger_integrations set settings = settings || %s"
    token = (SAVE_TOKEN, (tenant.account, "jwt", 10))
    other = (change, (Jsonb({"theirs": 1}),))
    for first, second in ((token, other), (other, token)):
        spoil(tenant, wppJwtToken="before", wppJwtExpiresAt=1, theirs=0)
        with psycopg.connect(database_url) as holder:
            holder.execute(first[0].encode(), first[1])
            at_once(database_url, second)
            holder.commit()
        settings = integrations(tenant)[0]["settings"]
        assert (settings["wppJwtToken"], settings["theirs"], settings["wppApiKey"]) == (
            "jwt",
            1,
            "key",
        )


def test_tokens_and_other_keys_saved_at_once_are_all_there(
    tenant: Tenant, database_url: str
) -> None:
    """Eight of each in parallel: the last token and every other key are stored."""
    change = "update messenger_integrations set settings = settings || %s"
    others = [(change, (Jsonb({f"k{n}": n}),)) for n in range(8)]
    tokens = [(SAVE_TOKEN, (tenant.account, f"t{n}", n)) for n in range(8)]
    at_once(database_url, *[call for pair in zip(others, tokens, strict=True) for call in pair])
    settings = integrations(tenant)[0]["settings"]
    expected = {f"k{n}": n for n in range(8)} | {
        "wppJwtToken": "t7",
        "wppJwtExpiresAt": 7,
        "wppApiKey": "key",
    }
    assert expected.items() <= settings.items()


def test_a_connected_account_cannot_be_taken_over(tenant: Tenant, other: Tenant) -> None:
    """Neither by saving it nor by writing its number into another integration."""
    take: list[Callable[[], Any]] = [
        lambda: save(other, uuid4(), tenant.account),
        lambda: save(other, other.integration, tenant.account),
        lambda: other.db.execute(
            "update messenger_integrations set settings = settings || %s where id = %s",
            (Jsonb({"wppAccountNumber": tenant.account}), other.integration),
        ),
        lambda: save(other, tenant.integration, "0000000000071"),
    ]
    for attempt in take:
        with pytest.raises(psycopg.errors.UniqueViolation):
            attempt()
    other.apply(tenant.arrived())
    assert len(tenant.messages()) == 1
    assert other.messages() == []


def test_a_removed_account_can_be_connected_by_another_organization(
    tenant: Tenant, other: Tenant
) -> None:
    tenant.db.execute("select wpp_remove_integration(%s, %s)", (tenant.integration, tenant.id))
    save(other, uuid4(), tenant.account)
    tenant.apply(tenant.arrived())
    assert len(other.messages()) == 1


def test_is_active_and_is_enabled_stay_equal(tenant: Tenant) -> None:
    for column, value in (
        ("is_enabled", False),
        ("is_active", True),
        ("is_active", False),
        ("is_enabled", True),
    ):
        change = sql.SQL("update messenger_integrations set {} = %s").format(sql.Identifier(column))
        tenant.db.execute(change, (value,))
        (row,) = integrations(tenant)
        assert (row["is_enabled"], row["is_active"]) == (value, value)
    save(tenant, tenant.integration, None, is_enabled=False)
    assert integrations(tenant)[0]["is_active"] is False


def test_removing_the_primary_promotes_the_oldest_left(tenant: Tenant) -> None:
    second, third = uuid4(), uuid4()
    save(tenant, second, "0000000000051")
    save(tenant, third, "0000000000052")
    tenant.apply(tenant.arrived(), tenant.session("connected", 0))
    remove = "select wpp_remove_integration(%s, %s) as gone"
    assert tenant.rows(remove, tenant.integration, tenant.id) == [{"gone": True}]
    assert tenant.rows(remove, tenant.integration, tenant.id) == [{"gone": False}]
    assert [(row["id"], row["is_primary"]) for row in integrations(tenant)] == [
        (second, True),
        (third, False),
    ]
    assert len(tenant.messages()) == 1


def test_removing_disconnects_the_session(tenant: Tenant) -> None:
    tenant.apply(tenant.session("connected", -365 * 86_400))
    tenant.db.execute("select wpp_remove_integration(%s, %s)", (tenant.integration, tenant.id))
    assert tenant.rows("select status, status_reason from whatsapp_sessions") == [
        {"status": "disconnected", "status_reason": "removed"}
    ]


def test_another_one_can_be_made_primary(tenant: Tenant, other: Tenant) -> None:
    second = uuid4()
    save(tenant, second, "0000000000051")
    choose = "select wpp_set_primary(%s, %s) as done"
    assert tenant.rows(choose, second, other.id) == [{"done": False}]
    assert tenant.rows(choose, second, tenant.id) == [{"done": True}]
    assert {row["id"]: row["is_primary"] for row in integrations(tenant)} == {
        second: True,
        tenant.integration: False,
    }
    assert integrations(other)[0]["is_primary"] is True


def test_only_the_own_integration_can_be_removed(tenant: Tenant, other: Tenant) -> None:
    remove = "select wpp_remove_integration(%s, %s) as gone"
    assert tenant.rows(remove, tenant.integration, other.id) == [{"gone": False}]
    assert len(integrations(tenant)) == 1


def test_parked_outcomes_do_not_prevent_connecting_their_account(tenant: Tenant) -> None:
    """An invalid row becomes a dead letter; while a table is broken, all rows wait."""
    late = Tenant(tenant.db, "0000000000099")
    late.apply(
        late.arrived(wa_message_id="W1"),
        late.arrived(wa_message_id="W2").model_dump(mode="json") | {"id": "no"},
    )
    with tenant.db.transaction(force_rollback=True):
        tenant.db.execute("alter table chat_messages rename column file_type to mime")
        late.connect()
        kept = "select from wpp.set_aside_outcomes union all select from wpp_dead_letters"
        assert len(late.rows(kept)) == 2
        assert late.rows("select n from wpp.set_aside_outcomes")
    late.connect()
    assert late.rows("select id from wpp.parked_outcomes") == []
    assert len(late.messages()) == 1
    assert late.rows("select organization_id, kind, reason from wpp_dead_letters") == [
        {"organization_id": late.id, "kind": "outcome", "reason": "refused"}
    ]


def test_a_parked_outcome_behind_a_lock_waits(tenant: Tenant, database_url: str) -> None:
    late = Tenant(tenant.db, "0000000000099", id=tenant.id)
    held = tenant.add_client(PHONE, last_message_at=at(0))
    late.apply(late.arrived(1), late.arrived(2, phone="79990003344"))
    tenant.db.execute(
        "insert into wpp_accounts values (%s, %s, %s)", (late.account, late.id, late.integration)
    )
    with psycopg.connect(database_url) as crm:
        crm.execute("select from clients where id = %s for update", (held,))
        assert tenant.rows("select wpp_apply_parked(10) as done") == [{"done": 2}]
        crm.rollback()
    assert len(tenant.messages()) == 1
    tenant.retry()
    assert len(tenant.messages()) == 2
    assert tenant.rows("select id from wpp.parked_outcomes") == []


def shown(tenant: Tenant) -> dict[str, Any]:
    """Return the settings as users read them."""
    (row,) = tenant.rows(
        "select settings from messenger_integrations where organization_id = %s", tenant.id
    )
    return dict(row["settings"])


def test_secrets_leave_the_settings_whoever_writes_them(tenant: Tenant) -> None:
    """A masked key stands in their place; written back, or left out, it changes nothing."""
    long = "a platform's long key: abcd"
    spoil(tenant, wppApiKey=long, wppJwtToken="jwt", wppJwtExpiresAt=5, wppWebhookSecret="old")
    masked = {"wppApiKey": "••••••••abcd", "wppAccountNumber": tenant.account}
    assert shown(tenant) == masked
    for written in (masked, {"wppAccountNumber": tenant.account}):
        tenant.rows("update messenger_integrations set settings = %s returning id", Jsonb(written))
        assert shown(tenant) == masked
    [kept] = tenant.rows("select wpp_settings(%s) as it", tenant.account)
    assert kept["it"] == {
        "wppApiKey": long,
        "wppJwtToken": "jwt",
        "wppJwtExpiresAt": 5,
        "wppWebhookSecret": "old",
        "wppAccountNumber": tenant.account,
    }
    spoil(tenant, wppApiKey="another")
    [kept] = tenant.rows("select wpp_settings(%s) as it", tenant.account)
    assert kept["it"].get("wppJwtToken") is None


def test_secrets_are_deleted_with_their_integration(tenant: Tenant) -> None:
    """However it is deleted; another provider's settings stay as they are."""
    tenant.db.execute(
        "insert into messenger_integrations (organization_id, messenger_type, provider, name, "
        "settings) values (%s, 'whatsapp', 'green_api', 'Other', %s)",
        (tenant.id, Jsonb({"apiToken": "theirs", "wppApiKey": "theirs"})),
    )
    tenant.db.execute("delete from messenger_integrations where provider = 'wpp'")
    assert tenant.rows("select * from wpp.integration_secrets") == []
    assert shown(tenant) == {"apiToken": "theirs", "wppApiKey": "theirs"}

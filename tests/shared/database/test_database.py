"""`Database` on real Postgres and PostgREST, through the real supabase client."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import structlog
import supabase
from psycopg.types.json import Jsonb
from pydantic import HttpUrl, SecretStr

from sandbox.supabase.project import Supabase
from shared.database import Database, DeadLetterQuery
from shared.database.connection import Connection
from shared.errors import DatabaseError, DatabaseUnavailableError, InvalidApiKeyError
from shared.outcomes import NEWEST_OUTCOME, DeadLetterOutcome, MessageOutcome, SessionOutcome
from shared.settings import SupabaseSettings
from shared.tokens.store import StoredCredentials, Token

ACCOUNT = "0000000000041"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[3]
CHECK = (
    "alter table whatsapp_sessions add constraint whatsapp_sessions_status_check check (status in "
    "('starting', 'qr_issued', 'pairing', 'connected', 'degraded', 'disconnected', 'error')) not "
    "valid"
)


@pytest.fixture
def settings(supabase_world: Supabase, database_url: str) -> SupabaseSettings:
    del database_url  # asked for because it empties the tables
    return SupabaseSettings(
        supabase_url=HttpUrl(supabase_world.url),
        supabase_anon_key=SecretStr(supabase_world.anon_key),
        supabase_service_role_key=SecretStr(supabase_world.service_role_key),
    )


@pytest.fixture
def database(settings: SupabaseSettings) -> Iterator[Database]:
    with httpx.Client(timeout=15) as http:
        yield Database(settings, http)


@pytest.fixture
def paged_database(settings: SupabaseSettings) -> Iterator[Database]:
    """Return a database that reads three rows at a time."""
    with Database(settings, page_size=3) as database:
        yield database


@pytest.fixture
def organization(database_url: str) -> UUID:
    with psycopg.connect(database_url) as db:
        (row,) = db.execute(
            "insert into organizations (name) values ('School') returning id"
        ).fetchall()
        return UUID(str(row[0]))


@pytest.fixture
def integration(database: Database, organization: UUID) -> UUID:
    return database.integrations.save(
        integration_id=uuid4(),
        organization_id=organization,
        name="First",
        account=ACCOUNT,
        api_key=SecretStr("key"),
    ).id


def sent(organization: UUID, integration: UUID, **given: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "id": uuid4(),
        "phone": "79990001122",
        "text": "Hello",
        "status": "sent",
    }
    return MessageOutcome(
        at=NOW,
        organization_id=organization,
        integration_id=integration,
        outgoing=True,
        **(defaults | given),
    ).model_dump(mode="json")


def session(status: Any, **given: Any) -> dict[str, Any]:
    return SessionOutcome(
        at=NOW, account=ACCOUNT, status=status, reason="webhook", **given
    ).model_dump(mode="json")


def dead(organization: UUID | None, **given: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "id": uuid4(),
        "kind": "send",
        "reason": "refused",
        "at": NOW,
        "accepted_at": NOW,
    }
    return DeadLetterOutcome(
        organization_id=organization,
        lane="send:1",
        detail="why",
        attempts=3,
        event={"v": 1, "text": "Hello"},
        **(defaults | given),
    ).model_dump(mode="json")


def test_outcomes_become_rows_and_changes_are_reported(
    database: Database, organization: UUID, integration: UUID
) -> None:
    outcome = sent(organization, integration, task_id="T1")
    applied = database.outcomes.apply([outcome, session("connected")])
    assert {change["what"] for change in applied.changed} == {"message", "session"}
    assert {change["organization_id"] for change in applied.changed} == {str(organization)}
    message = database.messages.get(UUID(outcome["id"]), organization)
    assert message
    assert (message.status, message.text, message.outgoing) == ("sent", "Hello", True)
    assert (message.external_message_id, message.created_at) == ("T1", NOW)


def test_a_refused_row_is_named_and_becomes_a_dead_letter(
    database: Database, organization: UUID, integration: UUID
) -> None:
    wrong = sent(organization, integration) | {"id": "nonsense"}
    (refused,) = database.outcomes.apply([sent(organization, integration), wrong]).refused
    assert refused.row == 1
    assert refused.why.startswith("22P02: ")
    (letter,) = database.dead_letters.find(DeadLetterQuery(organization_id=organization))
    assert (letter.kind, letter.reason, letter.detail, letter.event) == (
        "outcome",
        "refused",
        refused.why,
        wrong,
    )


def test_unstorable_characters_are_replaced(
    database: Database, organization: UUID, integration: UUID
) -> None:
    outcome = sent(organization, integration, text="a\x00b 😀") | {
        "metadata": {"n": float("nan"), "s": "\ud800"}
    }
    database.outcomes.apply([outcome])
    message = database.messages.get(UUID(outcome["id"]), organization)
    assert message
    assert message.text == "a\N{REPLACEMENT CHARACTER}b 😀"
    assert (message.metadata["n"], message.metadata["s"]) == (None, "\N{REPLACEMENT CHARACTER}")


def test_a_message_of_another_organization_is_not_found(
    database: Database, organization: UUID, integration: UUID
) -> None:
    outcome = sent(organization, integration)
    database.outcomes.apply([outcome])
    assert database.messages.get(UUID(outcome["id"]), uuid4()) is None


@pytest.mark.parametrize(("stored", "status"), [(None, "sent"), ("read", "read")])
def test_a_message_of_the_old_system_has_a_status_as_well(
    database: Database, organization: UUID, database_url: str, stored: str | None, status: str
) -> None:
    with psycopg.connect(database_url) as db:
        (row,) = db.execute(
            "insert into chat_messages (organization_id, message_text, message_type, "
            "message_status) "
            "values (%s, 'old', 'manager', %s) returning id",
            (organization, stored),
        ).fetchall()
    message = database.messages.get(row[0], organization)
    assert message
    assert (message.status, message.metadata) == (status, {})


def test_an_integration_is_found_by_id_by_account_and_by_organization(
    database: Database, organization: UUID, integration: UUID
) -> None:
    second = database.integrations.save(
        integration_id=uuid4(), organization_id=organization, sub_org_id="x__wpp__1"
    )
    found = database.integrations.get(integration)
    assert found
    assert (found.account, found.name, found.is_primary, found.is_enabled) == (
        ACCOUNT,
        "First",
        True,
        True,
    )
    assert (second.account, second.sub_org_id, second.is_primary) == ("", "x__wpp__1", False)
    assert database.integrations.get_by_account(ACCOUNT) == found
    assert database.integrations.list_for(organization) == [found, second]
    assert (database.integrations.get(uuid4()), database.integrations.list_for(uuid4())) == (
        None,
        [],
    )


def test_an_integration_shows_the_state_of_its_session(
    database: Database, organization: UUID, integration: UUID
) -> None:
    def state() -> tuple[Any, ...]:
        found = database.integrations.get(integration)
        assert found
        return found.status, found.qr, found.last_error

    assert state() == ("starting", None, None)
    database.outcomes.apply([session("qr_issued", qr="2@one")])
    assert state() == ("qr_issued", "2@one", None)
    database.integrations.report_error(integration, "the platform refused the key")
    assert state() == ("qr_issued", "2@one", "the platform refused the key")
    other = database.integrations.save(integration_id=uuid4(), organization_id=organization)
    assert other.status == "disconnected"


def test_integrations_are_read_without_keys(database: Database, integration: UUID) -> None:
    assert "key" not in str(database.integrations.get(integration))
    assert database.tokens.api_key(ACCOUNT).get_secret_value() == "key"
    with pytest.raises(InvalidApiKeyError, match="0000000000099"):
        database.tokens.api_key("0000000000099")


def test_an_account_of_another_organization_is_refused(
    database: Database, integration: UUID, database_url: str
) -> None:
    del integration
    with psycopg.connect(database_url) as db:
        (row,) = db.execute(
            "insert into organizations (name) values ('Other') returning id"
        ).fetchall()
    with pytest.raises(DatabaseError, match="another organization") as caught:
        database.integrations.save(integration_id=uuid4(), organization_id=row[0], account=ACCOUNT)
    assert caught.value.sqlstate == "23505"


def test_removing_the_primary_promotes_the_next(
    database: Database, organization: UUID, integration: UUID
) -> None:
    second = database.integrations.save(integration_id=uuid4(), organization_id=organization)
    assert database.integrations.remove(integration, uuid4()) is False
    assert database.integrations.remove(integration, organization) is True
    assert [
        (left.id, left.is_primary) for left in database.integrations.list_for(organization)
    ] == [(second.id, True)]
    assert database.integrations.set_primary(second.id, uuid4()) is False
    assert database.integrations.set_primary(second.id, organization) is True


def token(value: str, expires_at: datetime = NOW) -> Token:
    return Token(SecretStr(value), generation=7, expires_at=expires_at)


def test_a_token_comes_back_as_it_was_saved(database: Database, integration: UUID) -> None:
    """The key is in the same row; an unknown account has neither."""
    assert database.tokens.load(ACCOUNT) == StoredCredentials(SecretStr("key"), None), integration
    database.tokens.save(ACCOUNT, token("jwt", NOW + timedelta(milliseconds=250)))
    loaded = Token(SecretStr("jwt"), generation=0, expires_at=NOW + timedelta(milliseconds=250))
    assert database.tokens.load(ACCOUNT) == StoredCredentials(SecretStr("key"), loaded)
    assert database.tokens.load("0000000000099") == StoredCredentials(None, None)


def test_a_token_is_saved_where_users_do_not_read_it(
    database: Database, integration: UUID, database_url: str
) -> None:
    database.tokens.save(ACCOUNT, token("jwt"))
    database.tokens.save(ACCOUNT, token("earlier", NOW - timedelta(seconds=1)))
    with psycopg.connect(database_url) as db:
        (row,) = db.execute(
            "select secrets from wpp.integration_secrets where integration_id = %s", (integration,)
        ).fetchall()
    assert row[0]["wppJwtToken"] == "jwt"
    assert row[0]["wppJwtExpiresAt"] == int(NOW.timestamp() * 1000)


NO_ENDS: list[object] = ["soon", 1e300, -(10**15), None, True, []]
NO_TOKENS: list[object] = [None, 5, True, {"a": 1}]


@pytest.mark.parametrize(
    ("key", "nonsense"),
    [
        *[("wppJwtExpiresAt", end) for end in NO_ENDS],
        *[("wppJwtToken", value) for value in NO_TOKENS],
    ],
)
def test_an_invalid_stored_token_is_none(
    database: Database, integration: UUID, database_url: str, key: str, nonsense: object
) -> None:
    database.tokens.save(ACCOUNT, token("jwt"))
    with psycopg.connect(database_url) as db:
        change = "update messenger_integrations set settings = settings || %s where id = %s"
        db.execute(change, (Jsonb({key: nonsense}), integration))
    assert database.tokens.load(ACCOUNT) == StoredCredentials(SecretStr("key"), None)


@pytest.mark.parametrize("nonsense", [None, 5, "", [], {"a": 1}])
def test_an_invalid_key_is_reported_as_missing(
    database: Database, integration: UUID, database_url: str, nonsense: object
) -> None:
    with psycopg.connect(database_url) as db:
        change = "update messenger_integrations set settings = settings || %s where id = %s"
        db.execute(change, (Jsonb({"wppApiKey": nonsense}), integration))
    with pytest.raises(InvalidApiKeyError, match="force_recreate"):
        database.tokens.api_key(ACCOUNT)


def test_a_user_s_token_gives_their_organization(
    database: Database,
    organization: UUID,
    make_client: Callable[..., supabase.Client],
    database_url: str,
) -> None:
    answer = make_client().auth.sign_up({"email": "anna@example.org", "password": "correct horse"})
    assert answer.session
    assert answer.user
    assert database.users.find_organization(answer.session.access_token) is None
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute("insert into profiles (id) values (%s)", (answer.user.id,))
        assert database.users.find_organization(answer.session.access_token) is None
        db.execute("update profiles set organization_id = %s", (organization,))
    assert database.users.find_organization(answer.session.access_token) == organization
    assert database.outcomes.apply([]).changed == []  # still with the service role's key


@pytest.mark.parametrize("jwt", ["", "nonsense", "a.b.c"])
def test_a_refused_token_has_no_organization(database: Database, jwt: str) -> None:
    assert database.users.find_organization(jwt) is None


def test_the_service_key_is_no_user(database: Database, settings: SupabaseSettings) -> None:
    assert (
        database.users.find_organization(settings.supabase_service_role_key.get_secret_value())
        is None
    )


def test_dead_letters_are_found_by_each_condition(database: Database, organization: UUID) -> None:
    letters = [
        dead(organization),
        dead(organization, reason="expired", at=NOW + timedelta(hours=1)),
        dead(None, kind="webhook", account=ACCOUNT, at=NOW + timedelta(hours=2)),
    ]
    database.outcomes.apply(letters)
    ids = [UUID(letter["id"]) for letter in letters]

    def found(**query: Any) -> list[int]:
        return [
            ids.index(letter.id) for letter in database.dead_letters.find(DeadLetterQuery(**query))
        ]

    assert found() == [2, 1, 0]
    assert found(organization_id=organization) == [1, 0]
    assert found(kind="webhook") == found(account=ACCOUNT) == [2]
    assert found(reason="expired", organization_id=organization) == [1]
    assert found(since=NOW + timedelta(hours=1)) == [2, 1]
    assert found(until=NOW + timedelta(hours=1)) == [0]
    assert found(ids=[ids[0], uuid4()]) == [0]
    assert found(limit=1) == [2]
    assert database.dead_letters.find(DeadLetterQuery(ids=ids[:1]))[0].event == {
        "v": 1,
        "text": "Hello",
    }


def test_replayed_dead_letters_are_left_out_until_they_die_again(
    database: Database, organization: UUID
) -> None:
    letter = dead(organization)
    database.outcomes.apply([letter])
    database.dead_letters.mark_replayed(
        [UUID(letter["id"]), *(uuid4() for _ in range(450))], NOW + timedelta(hours=1)
    )
    assert database.dead_letters.find(DeadLetterQuery()) == []
    (replayed,) = database.dead_letters.find(DeadLetterQuery(replayed=True))
    assert replayed.replayed_at == NOW + timedelta(hours=1)
    database.outcomes.apply([letter])
    assert database.dead_letters.find(DeadLetterQuery()) == []
    database.outcomes.apply([letter | {"at": (NOW + timedelta(hours=2)).isoformat()}])
    assert len(database.dead_letters.find(DeadLetterQuery())) == 1


def test_a_death_after_its_replay_is_shown_although_the_mark_comes_late(
    database: Database, organization: UUID
) -> None:
    """The event died again between its replay and the mark."""
    letter = dead(organization)
    database.outcomes.apply([letter])
    database.outcomes.apply([letter | {"at": (NOW + timedelta(hours=2)).isoformat()}])
    database.dead_letters.mark_replayed([UUID(letter["id"])], NOW + timedelta(hours=1))
    assert len(database.dead_letters.find(DeadLetterQuery())) == 1


def test_each_maintenance_call_returns_its_count(database: Database) -> None:
    database.outcomes.apply([session("connected")])
    future = datetime.now(UTC) + timedelta(hours=1)
    assert (
        database.maintenance.apply_parked(),
        database.maintenance.expire_parked(future),
        database.maintenance.prune(future),
    ) == (0, 1, 0)
    (letter,) = database.dead_letters.find(DeadLetterQuery())
    assert (letter.reason, letter.account) == ("account_unknown", ACCOUNT)


def test_iterate_returns_dead_letters_in_the_order_of_their_events(
    paged_database: Database, organization: UUID
) -> None:
    """Page by page, also where several were accepted at the same moment."""
    database = paged_database
    accepted = [NOW + timedelta(microseconds=each) for each in (3, 1, 2, 2, 2, 2, 2, 0)]
    made = [dead(organization, accepted_at=each) for each in accepted]
    database.outcomes.apply([*made, dead(None, kind="webhook")])
    found = list(database.dead_letters.iterate(DeadLetterQuery(kind="send", limit=1)))
    assert [letter.accepted_at for letter in found] == sorted(accepted)
    assert {letter.id for letter in found} == {UUID(letter["id"]) for letter in made}
    assert database.dead_letters.count(DeadLetterQuery()) == 9
    assert database.dead_letters.count(DeadLetterQuery(kind="webhook")) == 1


def test_policies_are_set_and_read_page_by_page(
    paged_database: Database, organization: UUID, database_url: str
) -> None:
    database = paged_database
    with psycopg.connect(database_url) as db:
        made = db.execute(
            "insert into organizations (name) select 'School' from generate_series(1, 4) "
            "returning id"
        )
        more = {UUID(str(row[0])) for row in made}
    for each in (organization, *more):
        database.policies.set_unknown(each, "resend")
    assert database.policies.resending_organizations() == {organization, *more}
    database.policies.set_unknown(organization, "hold")
    assert database.policies.resending_organizations() == more
    assert (
        database.policies.resends_unknown(organization),
        database.policies.resends_unknown(more.pop()),
    ) == (
        False,
        True,
    )
    with pytest.raises(DatabaseError) as caught:
        database.policies.set_unknown(uuid4(), "hold")
    assert caught.value.sqlstate == "23503"


def test_pacing_is_set_for_an_organization_and_its_numbers(
    database: Database, organization: UUID, integration: UUID
) -> None:
    """A number's settings count before its organization's; null takes a setting back."""
    table = database.pacing
    assert table.of_organization(organization) == {}
    assert table.change(organization, None, {"per_minute": 20, "burst": 3}) == {
        "per_minute": 20,
        "burst": 3,
    }
    assert table.change(organization, integration, {"per_minute": 5}) == {"per_minute": 5}
    number = table.of_numbers(organization)[integration]
    assert number.own == {"per_minute": 5}
    assert number.settings == {"per_minute": 5, "burst": 3}
    assert table.change(organization, integration, {"per_minute": None}) == {}
    assert table.of_numbers()[integration].settings == {"per_minute": 20, "burst": 3}
    assert table.of_organization(organization) == {"per_minute": 20, "burst": 3}


def test_pacing_of_strangers_cannot_be_set(
    database: Database, organization: UUID, integration: UUID
) -> None:
    """Neither an organization that does not exist, nor the number of another one."""
    assert database.pacing.change(uuid4(), None, {"burst": 1}) is None
    assert database.pacing.change(organization, uuid4(), {"burst": 1}) is None
    assert database.pacing.change(uuid4(), integration, {"burst": 1}) is None
    assert database.pacing.of_numbers(uuid4()) == {}


def test_an_invalid_integration_hides_no_other(
    database: Database, organization: UUID, database_url: str
) -> None:
    """An unknown state counts as disconnected; an invalid row is left out and logged."""
    ids = [
        database.integrations.save(integration_id=uuid4(), organization_id=organization).id
        for _ in range(3)
    ]
    with psycopg.connect(database_url) as db:
        odd = "update messenger_integrations set settings = settings || %s where id = %s"
        db.execute(odd, (Jsonb({"wppAccountNumber": "0000000000077"}), ids[0]))
        db.execute("alter table whatsapp_sessions drop constraint whatsapp_sessions_status_check")
        db.execute(
            "insert into whatsapp_sessions (organization_id, session_name, status) "
            "values (%s, 'wpp_0000000000077', 'weird')",
            (organization,),
        )
        db.execute("alter table messenger_integrations disable trigger wpp_sync_enabled_flags")
        db.execute(
            "update messenger_integrations set is_enabled = null, is_primary = null where id = %s",
            (ids[0],),
        )
        db.execute(
            "update messenger_integrations set created_at = 'infinity' where id = %s", (ids[1],)
        )
        db.commit()
        try:
            with structlog.testing.capture_logs() as logs:
                found = {each.id: each for each in database.integrations.iterate()}
                assert {each.id for each in database.integrations.list_for(organization)} == set(
                    found
                )
        finally:
            db.execute("delete from whatsapp_sessions")
            db.execute("alter table messenger_integrations enable trigger wpp_sync_enabled_flags")
            db.execute(CHECK)
    assert set(found) == {ids[0], ids[2]}
    assert (found[ids[0]].status, found[ids[0]].is_primary, found[ids[0]].is_enabled) == (
        "disconnected",
        False,
        True,
    )
    assert {
        line["integration_id"] for line in logs if line["event"] == "integration.unreadable"
    } == {str(ids[1])}


def test_organizations_have_names_for_a_minute(
    database: Database, organization: UUID, database_url: str, settings: SupabaseSettings
) -> None:
    """Asked once; an organization that does not exist has none, and is no organization."""
    missing = uuid4()
    names = database.repair.name_organizations
    assert names([organization, missing]) == {organization: "School"}
    with psycopg.connect(database_url) as connection:
        connection.execute("update organizations set name = 'New' where id = %s", (organization,))
    assert names([organization]) == {organization: "School"}
    with Database(settings) as other:
        assert other.repair.name_organizations([organization]) == {organization: "New"}
    assert database.repair.find_organizations([organization, missing]) == {organization}


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        ("alter table organizations rename name to title", "rename title to name"),
        ("alter table organizations rename to schools", "rename to organizations"),
    ],
)
def test_without_names_organizations_have_none(
    database: Database, organization: UUID, database_url: str, change: str, undo: str
) -> None:
    """As in a CRM that keeps them elsewhere."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(change)
        try:
            assert database.repair.name_organizations([organization]) == {}
        finally:
            table = "schools" if "schools" in change else "organizations"
            connection.execute(f"alter table {table} {undo}")
            connection.execute("notify pgrst, 'reload schema'")


def test_a_supabase_that_is_away_is_no_crm_without_names(settings: SupabaseSettings) -> None:
    away = settings.model_copy(update={"supabase_url": HttpUrl("http://127.0.0.1:9")})
    with Database(away) as database, pytest.raises(DatabaseUnavailableError):
        database.repair.name_organizations([uuid4()])


def test_threads_share_one_database(
    database: Database, organization: UUID, integration: UUID
) -> None:
    def write(_: int) -> None:
        for _ in range(5):
            database.outcomes.apply([sent(organization, integration) for _ in range(4)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    found = database.outcomes.apply([sent(organization, integration)])
    assert len(found.changed) == 1


FORKING = """
import os, sys, uuid
from shared.database import Database
from shared.settings import SupabaseSettings
database, organization = Database(SupabaseSettings()), uuid.UUID(sys.argv[1])
database.integrations.list_for(organization)
children = []
for _ in range(6):
    if not (child := os.fork()):
        counts = [len(database.integrations.list_for(organization)) for _ in range(5)]
        os._exit(0 if counts == [1] * 5 else 1)
    children.append(child)
sys.exit(max(os.waitpid(child, 0)[1] for child in children) and 1)
"""


def test_a_database_used_before_a_fork_works_in_each_child(
    settings: SupabaseSettings, organization: UUID, integration: UUID
) -> None:
    del integration
    environment = {
        "SUPABASE_URL": str(settings.supabase_url),
        "SUPABASE_ANON_KEY": settings.supabase_anon_key.get_secret_value(),
        "SUPABASE_SERVICE_ROLE_KEY": settings.supabase_service_role_key.get_secret_value(),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(organization)],
        env=environment,
        check=False,
        timeout=60,
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_database_says_which_outcomes_it_knows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migrations of this version know its outcomes; those of before it know the first."""
    assert database.outcomes.find_version() == NEWEST_OUTCOME
    call = Connection.call

    def call_before_the_migration(self: Connection, _name: str, *given: Any, **named: Any) -> Any:
        return call(self, "wpp_not_there_yet", *given, **named)

    monkeypatch.setattr(Connection, "call", call_before_the_migration)
    assert database.outcomes.find_version() == 1

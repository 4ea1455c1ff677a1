"""Errors of Supabase, temporary and permanent."""

import socket
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from postgrest.exceptions import APIError
from pydantic import HttpUrl, SecretStr

from shared.database import Database, DeadLetterQuery
from shared.database.connection import Connection, map_errors
from shared.database.diagnosis import diagnose
from shared.database.models import ClaimedOutcomes
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.events import utc_now
from shared.http.deadline import within
from shared.settings import SupabaseSettings
from tests.fixtures.waiting import shortest_s

ID = UUID(int=7)
SETTINGS = SupabaseSettings(
    supabase_url=HttpUrl("http://127.0.0.1:9"),
    supabase_anon_key=SecretStr("anon"),
    supabase_service_role_key=SecretStr("service"),
)


def answering(answer: Callable[[httpx.Request], httpx.Response]) -> Database:
    return Database(SETTINGS, httpx.Client(transport=httpx.MockTransport(answer)))


def said(status: int, code: str | None) -> Database:
    body = {"code": code, "message": "no", "details": None, "hint": None}
    return answering(lambda _: httpx.Response(status, json=body))


@pytest.mark.parametrize(
    "code",
    [
        "40P01",  # deadlock
        "40001",  # serialization
        "57014",  # statement timeout
        "57P01",  # shutting down
        "53300",  # too many connections
        "08006",  # connection lost
        "PGRST000",  # PostgREST can't reach Postgres
        "PGRST002",  # nor read its schema
        "PGRST202",  # no such function: a migration is missing
        "42883",
        "42501",  # a key without the rights
        "42703",  # a column was renamed
        "WPPDB",  # a column that we don't know of must not be null
        "PGRST301",  # a key that was signed with another secret
        None,
    ],
)
def test_an_error_without_fault_of_the_rows_is_temporary(code: str | None) -> None:
    with pytest.raises(DatabaseUnavailableError):
        said(500, code).outcomes.apply([])


@pytest.mark.parametrize("code", ["22P02", "23505", "23503", "54001", "P0001", "PGRST102"])
def test_an_error_of_the_request_is_permanent(code: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        said(400, code).outcomes.apply([])
    assert not isinstance(caught.value, DatabaseUnavailableError)
    assert caught.value.sqlstate == code


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_error_of_a_gateway_is_temporary(status: int) -> None:
    with pytest.raises(DatabaseUnavailableError):
        answering(lambda _: httpx.Response(status, text="<html>Bad Gateway</html>")).outcomes.apply(
            []
        )


def test_a_batch_that_is_too_large_for_a_gateway_is_a_permanent_error() -> None:
    with pytest.raises(DatabaseError) as caught:
        answering(lambda _: httpx.Response(413, text="<html>Too Large</html>")).outcomes.apply([])
    assert not isinstance(caught.value, DatabaseUnavailableError)


@pytest.mark.parametrize(
    "error",
    [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut")],
)
def test_no_answer_is_a_temporary_error(error: httpx.TransportError) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    database = answering(fail)
    with pytest.raises(DatabaseUnavailableError, match=type(error).__name__):
        database.outcomes.apply([])
    with pytest.raises(DatabaseUnavailableError):
        database.users.find_organization("a.b.c")


def test_a_failed_read_is_not_retried_by_the_library() -> None:
    """The library's own retry of reads blocks a thread for 7 s."""
    asked = []

    def fail(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(
            503, json={"code": "PGRST000", "message": "no", "details": None, "hint": None}
        )

    with pytest.raises(DatabaseUnavailableError):
        answering(fail).integrations.get_by_account("1")
    assert len(asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failing_auth_server_does_not_refuse_a_token(status: int) -> None:
    body: dict[str, Any] = {"code": "over_request_rate_limit", "message": "no"}
    database = answering(lambda _: httpx.Response(status, json=body))
    with pytest.raises(DatabaseUnavailableError):
        database.users.find_organization("a.b.c")


def test_errors_contain_no_key() -> None:
    with pytest.raises(DatabaseError) as caught:
        Database(SETTINGS).outcomes.apply([])
    assert "service" not in str(caught.value)


def test_the_connection_opens_at_first_use() -> None:
    connection = Connection(SETTINGS)
    assert connection.client is connection.client


def test_a_supabase_that_never_answers_is_left_at_the_deadline() -> None:
    """The deadline around a call counts, and not the 15 s of a single read."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = HttpUrl(f"http://127.0.0.1:{listening.getsockname()[1]}")
        database = Database(SETTINGS.model_copy(update={"supabase_url": url}))

        def apply() -> None:
            with within(0.3), pytest.raises(DatabaseUnavailableError, match="ReadTimeout"):
                database.outcomes.apply([])

        assert shortest_s(apply, 1) < 1
        with within(0), pytest.raises(DatabaseUnavailableError):
            database.outcomes.apply([])


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), map_errors():
        raise ZeroDivisionError


def test_a_statement_that_took_too_long_has_its_code() -> None:
    """The recorder splits such a batch, so it needs the code of this temporary error."""
    with pytest.raises(DatabaseUnavailableError) as raised, map_errors():
        raise APIError({"code": "57014", "message": "canceling statement due to statement timeout"})
    assert raised.value.sqlstate == "57014"


PAGE = "<html><body>Sign in to the hotel's network</body></html>"
READS: dict[str, Callable[[Database], object]] = {
    "apply": lambda database: database.outcomes.apply([]),
    "put_aside": lambda database: database.outcomes.put_aside([], "", ""),
    "claim_set_aside": lambda database: database.outcomes.claim_set_aside(),
    "apply_set_aside": lambda database: database.outcomes.apply_set_aside(
        ClaimedOutcomes(owner="A", rows=[1])
    ),
    "list_for": lambda database: database.integrations.list_for(ID),
    "iterate": lambda database: list(database.integrations.iterate()),
    "find_owner": lambda database: database.integrations.find_owner("1"),
    "save": lambda database: database.integrations.save(integration_id=ID, organization_id=ID),
    "remove": lambda database: database.integrations.remove(ID, ID),
    "message": lambda database: database.messages.get(ID, ID),
    "history": lambda database: database.messages.list_history(ID, ID),
    "letters": lambda database: database.dead_letters.find(DeadLetterQuery()),
    "count": lambda database: database.dead_letters.count(DeadLetterQuery()),
    "policy": lambda database: database.policies.resends_unknown(ID),
    "policies": lambda database: database.policies.resending_organizations(),
    "pacing": lambda database: database.pacing.of_numbers(),
    "organization's pacing": lambda database: database.pacing.of_organization(ID),
    "change of pacing": lambda database: database.pacing.change(ID, None, {}),
    "acquaintance": lambda database: database.pacing.find_acquaintance(ID, "79990001122"),
    "parked": lambda database: database.maintenance.apply_parked(),
    "prune": lambda database: database.maintenance.prune(utc_now()),
    "settings": lambda database: database.tokens.load("1"),
    "user": lambda database: database.users.find_organization("a.b.c"),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html=PAGE),
        httpx.Response(200, text="OK"),
        httpx.Response(200, json="OK"),
        httpx.Response(200, json=[1]),
    ],
    ids=["html", "text", "string", "list"],
)
def test_an_answer_that_is_not_supabase_s_is_an_outage(
    read: Callable[[Database], object], answer: httpx.Response
) -> None:
    """A proxy, a parked domain or a sign-in page answers 200 at Supabase's address."""
    with pytest.raises(DatabaseUnavailableError, match="not as Supabase does"):
        read(
            answering(lambda _: httpx.Response(200, headers=answer.headers, content=answer.read()))
        )


@pytest.mark.parametrize(
    ("message", "code", "advice"),
    [
        ("cannot execute INSERT in a read-only transaction", "25006", "read-only"),
        ("Legacy API keys are disabled", None, "legacy keys are disabled"),
        ("JWT issued at future", "PGRST303", "compare the clocks"),
        ("JWT not yet valid", "PGRST303", "compare the clocks"),
        ("JWT expired", "PGRST303", "has expired"),
        ("Invalid API key", None, "check SUPABASE_SERVICE_ROLE_KEY"),
        ("permission denied", "42501", "check SUPABASE_SERVICE_ROLE_KEY"),
        ("no such column", "42703", "apply supabase/migrations again"),
    ],
)
def test_the_advice_fits_the_fault(message: str, code: str | None, advice: str) -> None:
    body = {"code": code, "message": message, "details": None, "hint": None}
    with pytest.raises(DatabaseUnavailableError) as caught:
        answering(lambda _: httpx.Response(401, json=body)).outcomes.apply([])
    assert advice in str(diagnose(caught.value))

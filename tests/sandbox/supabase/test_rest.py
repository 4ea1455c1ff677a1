"""Tables and functions through the unmodified `supabase` client."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import httpx
import psycopg
import pytest
import supabase
from postgrest.exceptions import APIError
from postgrest.types import CountMethod, ReturnMethod

from sandbox.supabase.project import MAX_ROWS, Supabase
from tests.conftest import MakeClient
from tests.fixtures.waiting import wait_until

NOTES = """
    create table public.notes (
      id uuid primary key default gen_random_uuid(),
      owner uuid default auth.uid(), body text not null, size int default 1
    );
    alter table public.notes enable row level security;
    create policy own on public.notes to authenticated
      using (owner = auth.uid()) with check (owner = auth.uid());
    create function public.count_notes(prefix text) returns bigint language sql stable as
      $$ select count(*) from public.notes where starts_with(body, prefix) $$;
    create function public.add_notes(bodies jsonb) returns int language plpgsql as $$
      begin
        insert into public.notes (body) select jsonb_array_elements_text(bodies);
        return jsonb_array_length(bodies);
      end $$;
"""
NO_NOTES = "drop function public.add_notes, public.count_notes; drop table public.notes"
PASSWORD = "correct horse"


@pytest.fixture(scope="module", autouse=True)
def _notes(supabase_world: Supabase) -> Iterator[None]:
    """Make a table and functions, and wait until PostgREST has reloaded its schema cache."""
    table, key = f"{supabase_world.url}/rest/v1/notes", supabase_world.service_role_key
    _run(supabase_world, NOTES)
    headers = {"apikey": key, "prefer": "return=representation"}
    body = {"body": "known yet?"}
    wait_until(lambda: httpx.post(table, json=body, headers=headers).is_success, "the table", 60)
    yield
    _run(supabase_world, NO_NOTES)


def _run(project: Supabase, statements: str) -> None:
    with psycopg.connect(project.database_url) as connection:
        connection.execute(statements.encode())


@pytest.fixture
def client(service_client: supabase.Client) -> supabase.Client:
    return service_client


def rows(answer: Any) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", answer.data)


def signed_up(make_client: MakeClient, email: str) -> supabase.Client:
    client = make_client()
    client.auth.sign_up({"email": email, "password": PASSWORD})
    return client


def test_reads_back_what_it_inserted(client: supabase.Client) -> None:
    """Text with URL syntax and beyond ASCII is found again."""
    body = "a+b & c=d, «ü», (x.eq.1)"
    written = rows(client.table("notes").insert({"body": body}).execute())[0]
    assert rows(client.table("notes").select("id, size").eq("body", body).execute()) == [
        {"id": written["id"], "size": 1}
    ]


def test_upserts_on_the_primary_key(client: supabase.Client) -> None:
    written = rows(client.table("notes").insert({"body": "first"}).execute())[0]
    client.table("notes").upsert({"id": written["id"], "body": "second"}).execute()
    assert [row["body"] for row in rows(client.table("notes").select("body").execute())] == [
        "second"
    ]


def test_inserts_many_rows_in_one_request(client: supabase.Client) -> None:
    client.table("notes").insert(
        [{"body": f"{n}"} for n in range(500)], returning=ReturnMethod.minimal
    ).execute()
    assert (
        client.table("notes").select("id", count=CountMethod.exact).limit(1).execute().count == 500
    )


def test_keeps_defaults_where_bulk_rows_differ_in_keys(client: supabase.Client) -> None:
    differing: list[dict[str, Any]] = [{"body": "a", "size": 7}, {"body": "b"}]
    table = client.table("notes").insert(differing, default_to_null=False)
    assert [row["size"] for row in rows(table.execute())] == [7, 1]


def test_counts_without_reading(client: supabase.Client) -> None:
    client.table("notes").insert([{"body": "a"}, {"body": "b"}]).execute()
    assert (
        client.table("notes").select("*", count=CountMethod.exact, head=True).execute().count == 2
    )


def test_calls_functions(client: supabase.Client) -> None:
    """A batch as a jsonb argument, and a read with GET."""
    assert client.rpc("add_notes", {"bodies": [f"n{n}" for n in range(100)]}).execute().data == 100
    assert client.rpc("count_notes", {"prefix": "n1"}, get=True).execute().data == 11


def test_returns_no_more_rows_than_a_hosted_project(client: supabase.Client) -> None:
    client.rpc("add_notes", {"bodies": ["n" for _ in range(MAX_ROWS + 5)]}).execute()
    assert len(client.table("notes").select("id").execute().data) == MAX_ROWS


@pytest.mark.parametrize(
    ("row", "sqlstate"),
    [
        ({"size": 1}, "23502"),
        ({"body": "x", "id": "no uuid"}, "22P02"),
        ({"body": "x", "no": 1}, ""),
    ],
)
def test_an_error_of_postgres_has_its_sqlstate(
    client: supabase.Client, row: dict[str, Any], sqlstate: str
) -> None:
    with pytest.raises(APIError) as refused:
        client.table("notes").insert(row).execute()
    assert (refused.value.code or "").startswith(sqlstate or "PGRST")


def test_users_see_their_own_rows_only(client: supabase.Client, make_client: MakeClient) -> None:
    """Row level security separates two users and hides all rows without a sign-in."""
    anna, boris = (
        signed_up(make_client, "anna@example.com"),
        signed_up(make_client, "boris@example.com"),
    )
    anna.table("notes").insert({"body": "anna's"}).execute()
    boris.table("notes").insert({"body": "boris's"}).execute()
    seen = [
        rows(one.table("notes").select("body").execute()) for one in (anna, boris, make_client())
    ]
    assert seen == [[{"body": "anna's"}], [{"body": "boris's"}], []]
    assert len(rows(client.table("notes").select("body").execute())) == 2


def test_a_write_without_a_policy_is_refused(
    client: supabase.Client, make_client: MakeClient
) -> None:
    del client
    with pytest.raises(APIError) as refused:
        make_client().table("notes").insert({"body": "anonymous"}).execute()
    assert refused.value.code == "42501"


def test_refuses_a_wrong_api_key(make_client: MakeClient) -> None:
    with pytest.raises(APIError, match="Invalid API key"):
        make_client("no.such.key").table("notes").select("id").execute()


def test_refuses_a_request_without_an_api_key(supabase_world: Supabase) -> None:
    """A valid token does not replace the API key."""
    bearer = {"authorization": f"Bearer {supabase_world.service_role_key}"}
    assert httpx.get(f"{supabase_world.url}/rest/v1/notes", headers=bearer).status_code == 401


def test_without_a_token_the_api_key_decides_the_role(
    client: supabase.Client, supabase_world: Supabase
) -> None:
    client.table("notes").insert({"body": "x"}).execute()
    url, keys = (
        f"{supabase_world.url}/rest/v1/notes?select=body",
        (supabase_world.anon_key, supabase_world.service_role_key),
    )
    assert [httpx.get(url, headers={"apikey": key}).json() for key in keys] == [[], [{"body": "x"}]]


def test_answers_a_browser_from_another_origin(supabase_world: Supabase) -> None:
    asked = {"origin": "http://localhost:8000", "access-control-request-method": "GET"}
    allowed = {**asked, "access-control-request-headers": "apikey, authorization"}
    answer = httpx.options(f"{supabase_world.url}/rest/v1/notes", headers=allowed)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


def test_keeps_every_row_that_was_acknowledged_to_many_at_once(
    supabase_world: Supabase, client: supabase.Client
) -> None:
    """Eight clients share the gateway's connections; each answer reaches its client."""

    def write(name: int) -> set[str]:
        with httpx.Client(headers={"apikey": supabase_world.service_role_key}) as http:
            url, asked = (
                f"{supabase_world.url}/rest/v1/notes?select=body",
                {"prefer": "return=representation"},
            )
            bodies = [f"{name}-{number}" for number in range(25)]
            answers = [http.post(url, json={"body": body}, headers=asked).json() for body in bodies]
        assert answers == [[{"body": body}] for body in bodies]
        return set(bodies)

    with ThreadPoolExecutor(8) as writers:
        acknowledged = set[str]().union(*writers.map(write, range(8)))
    assert {
        row["body"] for row in rows(client.table("notes").select("body").execute())
    } == acknowledged


def test_carries_large_rows(client: supabase.Client) -> None:
    body = "ü" * 1_000_000
    client.table("notes").insert({"body": body}, returning=ReturnMethod.minimal).execute()
    assert rows(client.table("notes").select("body").execute()) == [{"body": body}]


def code_of_an_insert(client: supabase.Client) -> str:
    with pytest.raises(APIError) as away:
        client.table("notes").insert({"body": "lost"}).execute()
    return away.value.code or ""


def test_answers_503_while_postgres_is_down_and_recovers(
    client: supabase.Client, supabase_world: Supabase
) -> None:
    """The same error as a hosted project's; after the start, acknowledged rows are there."""
    client.table("notes").insert({"body": "kept"}).execute()
    supabase_world.postgres.kill()
    try:
        codes = {code_of_an_insert(client) for _ in range(5)}
    finally:
        supabase_world.postgres.start()
    # the first call may have been in flight at the kill (57P01)
    assert any(code.startswith("PGRST0") for code in codes), codes

    def read() -> list[dict[str, Any]]:
        try:
            return rows(client.table("notes").select("body").execute())
        except APIError:
            return []

    assert wait_until(read, "an answer", 60) == [{"body": "kept"}]

"""The number that sends a message: named, last written to, primary, any connected number."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
import redis

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from shared.redis import keys
from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.messages.contacts import Table, add_arrived, add_contact
from tests.workers.ingress.tenants import Tenant

PHONE = "79990001122"


def add_number(tenant: Tenant, account: str, **options: str) -> str:
    """Add a connected integration; return its id."""
    return tenant.add_integration(account, **options).rsplit("/", 1)[-1]  # type: ignore[arg-type]


def find_sender(tenant: Tenant, **fields: object) -> str:
    """Send a message; return the integration that was chosen."""
    answer = tenant.post("/v1/messages", {"to": PHONE, "text": "Hello", **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["integration_id"])


@pytest.fixture
def second_process(
    redis_server: RedisServer,
    supabase_world: Supabase,
    tenant: Tenant,
    tmp_path: Path,
) -> Iterator[Tenant]:
    """Return the same organization at a second ingress process."""
    settings = {
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
    }
    with IngressProcess(redis_server.url, tmp_path, **settings) as process:
        process.http.headers["Authorization"] = tenant.http.headers["Authorization"]
        yield Tenant(tenant.id, process.http, tenant.database, tenant.client)


def test_the_primary_sends_what_names_no_number(tenant: Tenant) -> None:
    """A message may name another; status and answer say which it was."""
    primary, second = add_number(tenant, "42"), add_number(tenant, "43")
    assert find_sender(tenant) == primary
    assert find_sender(tenant, integration_id=second) == second
    answer = tenant.post("/v1/messages", {"to": PHONE, "text": "Hello", "integration_id": second})
    assert tenant.http.get(answer.headers["Location"]).json()["integration_id"] == second


@pytest.mark.parametrize("by", ["client", "teacher", "phone", "phone of a teacher"])
def test_the_number_on_which_a_contact_wrote_last_answers(
    tenant: Tenant, database_url: str, by: str
) -> None:
    """The latest message counts, however the contact is named; another contact has the primary."""
    primary, second = add_number(tenant, "42"), add_number(tenant, "43")
    table: Table = "teachers" if "teacher" in by else "clients"
    contact_id = add_contact(database_url, tenant.id, "8 (999) 000-11-22", table)
    contact = {f"{table[:-1]}_id": contact_id}
    fields: dict[str, object] = {} if "phone" in by else {f"{table[:-1]}_id": str(contact_id)}
    assert find_sender(tenant, **fields) == primary
    add_arrived(database_url, tenant.id, second, ago_s=10, **contact)
    add_arrived(database_url, tenant.id, primary, ago_s=20, **contact)
    assert find_sender(tenant, **fields) == second
    assert find_sender(tenant, to="79995556677") == primary


def test_a_number_of_another_organization_is_never_chosen(
    tenant: Tenant,
    ingress_with_supabase: IngressProcess,
    supabase_world: Supabase,
    database_url: str,
) -> None:
    """Neither by name, nor because a row says that a contact wrote to it."""
    primary, _ = add_number(tenant, "42"), add_number(tenant, "43")
    with Tenant.new(ingress_with_supabase, supabase_world, tenant.client) as other:
        theirs = add_number(other, "44")
        assert find_sender(other) == theirs
    client_id = add_contact(database_url, tenant.id, PHONE)
    add_arrived(database_url, tenant.id, theirs, client_id=client_id)
    assert find_sender(tenant, client_id=str(client_id)) == primary
    body = {"to": PHONE, "text": "Hello", "integration_id": theirs}
    answer = tenant.post("/v1/messages", body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_removal_is_known_at_once_in_every_process(
    tenant: Tenant, second_process: Tenant
) -> None:
    """Both processes have just used the number, and refuse it or choose another."""
    primary, second = add_number(tenant, "42"), add_number(tenant, "43")
    for process in (tenant, second_process):
        assert find_sender(process) == primary
        assert find_sender(process, integration_id=second) == second
    assert tenant.http.delete(f"/v1/integrations/{primary}").status_code == 202
    for process in (tenant, second_process):
        assert find_sender(process) == second
        body = {"to": PHONE, "text": "Hello", "integration_id": primary}
        assert process.post("/v1/messages", body).status_code == 404
    assert second_process.http.delete(f"/v1/integrations/{second}").status_code == 202
    for process in (tenant, second_process):
        answer = process.post("/v1/messages", {"to": PHONE, "text": "Hello"})
        assert answer.status_code == 404
        assert "POST /v1/integrations" in answer.json()["detail"]


def test_a_disabled_number_sends_nothing_from_now_on(
    tenant: Tenant, second_process: Tenant, database_url: str
) -> None:
    """Also where a contact wrote to it last; named, it is refused with its field."""
    primary, second = add_number(tenant, "42"), add_number(tenant, "43")
    client_id = add_contact(database_url, tenant.id, PHONE)
    add_arrived(database_url, tenant.id, second, client_id=client_id)
    for process in (tenant, second_process):
        assert find_sender(process, client_id=str(client_id)) == second
    for number, chosen in ((second, primary), (primary, None)):
        tenant.http.patch(
            f"/v1/integrations/{number}", json={"is_enabled": False}
        ).raise_for_status()
        for process in (tenant, second_process):
            body = {"to": PHONE, "text": "Hello", "integration_id": number}
            answer = process.post("/v1/messages", body)
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["field"] == "integration_id"
            if chosen:
                assert find_sender(process, client_id=str(client_id)) == chosen
    answer = second_process.post("/v1/messages", {"to": PHONE, "text": "Hello"})
    assert (answer.status_code, "disabled" in answer.json()["detail"]) == (404, True)


def test_without_a_primary_a_connected_number_is_chosen(tenant: Tenant) -> None:
    """Before those that are not connected, whichever is older."""
    primary = add_number(tenant, "42")
    add_number(tenant, "43", status="disconnected")
    connected = add_number(tenant, "44")
    tenant.http.patch(f"/v1/integrations/{primary}", json={"is_enabled": False}).raise_for_status()
    assert find_sender(tenant) == connected


def test_a_new_primary_sends_at_once(tenant: Tenant, second_process: Tenant) -> None:
    """In the process that made it the primary, and in others."""
    primary, second = add_number(tenant, "42"), add_number(tenant, "43")
    assert find_sender(second_process) == find_sender(tenant) == primary
    tenant.http.post(f"/v1/integrations/{second}/primary").raise_for_status()
    assert find_sender(tenant) == find_sender(second_process) == second


def test_many_numbers_are_not_read_for_each_message(tenant: Tenant, database_url: str) -> None:
    """The primary sends, and the number that a contact wrote to, among more than are read."""
    numbers = [add_number(tenant, str(1000 + n)) for n in range(25)]
    client_id = add_contact(database_url, tenant.id, PHONE)
    assert find_sender(tenant) == numbers[0]
    add_arrived(database_url, tenant.id, numbers[17], client_id=client_id)
    assert find_sender(tenant) == numbers[17]
    assert find_sender(tenant, to="79995556677", integration_id=numbers[20]) == numbers[20]


def test_one_number_needs_no_supabase(
    tenant: Tenant, ingress_with_supabase: IngressProcess, database_url: str
) -> None:
    """A phone without a contact is accepted without a query: the row of the number is gone."""
    del ingress_with_supabase
    number = add_number(tenant, "42")
    assert find_sender(tenant) == number
    with psycopg.connect(database_url) as db:
        db.execute("delete from public.messenger_integrations where id = %s", (number,))
    assert find_sender(tenant) == number


def test_routes_that_redis_has_lost_are_read_again(
    tenant: Tenant, redis_client: redis.Redis
) -> None:
    """The ids are remembered by the process, the routes by Supabase."""
    number = add_number(tenant, "42")
    assert find_sender(tenant) == number
    redis_client.delete(keys.route(UUID(number)), keys.primary_route(tenant.id))
    assert find_sender(tenant) == number
    body = {"to": PHONE, "text": "Hello", "integration_id": str(uuid4())}
    assert tenant.post("/v1/messages", body).status_code == 404

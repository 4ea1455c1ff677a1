"""Numbers of all organizations: filtered, in pages, with their history."""

from uuid import UUID, uuid4

import psycopg

from sandbox.supabase.project import Supabase
from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.console.conftest import SignedIn
from tests.workers.ingress.tenants import Tenant


def test_numbers_of_all_organizations(
    operator: SignedIn,
    tenant: Tenant,
    ingress_with_supabase: IngressProcess,
    supabase_world: Supabase,
) -> None:
    """With state and reason; those that are down, or of one organization, on demand."""
    path = tenant.add_integration("42")
    tenant.set_status("42", "disconnected", "the phone was unlinked")
    with Tenant.new(ingress_with_supabase, supabase_world, tenant.client) as other:
        other.add_integration("43")
        found = operator.get("numbers")
        assert {each["account"] for each in found["items"]} == {"42", "43"}
        assert (found["total"], found["next"]) == (2, None)
        (down,) = operator.get("numbers", status="down")["items"]
        assert (down["account"], down["reason"]) == ("42", "the phone was unlinked")
        (theirs,) = operator.get("numbers", organization=str(other.id))["items"]
        assert theirs["account"] == "43"
        assert operator.get("numbers", first=1)["items"][0]["account"] in {"42", "43"}
    one = operator.get(f"numbers/{path.rsplit('/', 1)[1]}")
    assert [each["status"] for each in one["history"]] == ["disconnected", "connected"]
    assert one["messages"] == {}
    missing = operator.http.get(f"/console/data/numbers/{tenant.id}")
    assert missing.status_code == 404


def test_how_the_messages_of_the_last_hour_ended(
    operator: SignedIn, tenant: Tenant, supabase_world: Supabase
) -> None:
    """By status; those that arrived together. Older ones and those of further numbers are not."""
    number, other = (UUID(tenant.add_integration(each).rsplit("/", 1)[1]) for each in ("42", "43"))
    rows = [
        *[(number, True, "sent", "1 minute")] * 3,
        (number, True, "failed", "59 minutes"),
        (number, True, "unknown", "2 minutes"),
        *[(number, False, "delivered", "3 minutes")] * 2,
        (number, True, "sent", "61 minutes"),
        (other, True, "read", "1 minute"),
    ]
    with psycopg.connect(supabase_world.database_url) as connection:
        for integration_id, is_outgoing, status, ago in rows:
            connection.execute(
                "insert into chat_messages (id, organization_id, message_text, message_type,"
                " messenger_type, integration_id, is_outgoing, message_status, created_at)"
                " values (%s, %s, 'Text', 'manager', 'whatsapp', %s, %s, %s, now() - %s::interval)",
                (uuid4(), tenant.id, integration_id, is_outgoing, status, ago),
            )
    found = operator.get(f"numbers/{number}")["messages"]
    assert found == {"sent": 3, "failed": 1, "unknown": 1, "received": 2}
    assert operator.get(f"numbers/{other}")["messages"] == {"read": 1}


def test_pauses_stand_in_the_history(operator: SignedIn, tenant: Tenant) -> None:
    """Beside the states, on the console and in the API; the latest first."""
    path = tenant.add_integration("42")
    for value in (False, True):
        answer = tenant.http.patch(path, json={"is_enabled": value})
        assert answer.json()["is_enabled"] is value
    found = operator.get(f"numbers/{path.rsplit('/', 1)[1]}")["history"]
    assert [each["status"] for each in found] == ["resumed", "paused", "connected"]
    listed = tenant.http.get(f"{path}/history").json()
    assert [(each["status"], each["cause"]) for each in listed] == [
        ("resumed", "resumed"),
        ("paused", "paused"),
        ("connected", "connected"),
    ]
    assert len(tenant.http.get(f"{path}/history", params={"limit": 1}).json()) == 1
    older = tenant.http.get(f"{path}/history", params={"until": listed[0]["at"]}).json()
    assert older == listed[1:]


NUMBERS = 10_000


def test_ten_thousand_numbers_in_pages(
    operator: SignedIn, tenant: Tenant, supabase_world: Supabase
) -> None:
    """Each number is on one page, the latest change first, also where thousands changed at once."""
    with psycopg.connect(supabase_world.database_url) as connection:
        connection.execute("alter table messenger_integrations disable trigger user")  # seconds
        connection.execute(
            "with numbers as (insert into messenger_integrations (id, organization_id,"
            " messenger_type, provider, name, webhook_key, settings)"
            " select gen_random_uuid(), %(id)s, 'whatsapp', 'wpp', 'Number ' || n, 'key ' || n,"
            " jsonb_build_object('wppAccountNumber', 'a' || n) from generate_series(1, %(count)s) n"
            " returning id, settings ->> 'wppAccountNumber' as account),"
            " sessions as (insert into whatsapp_sessions (organization_id, session_name, status,"
            " status_at) select %(id)s, 'wpp_' || account,"
            " case when right(account, 1) = '7' then 'error' else 'connected' end,"
            " timestamptz '2026-11-21' + right(account, 2)::int * interval '1 minute'"
            " from numbers where length(account) > 2)"
            " insert into wpp_accounts (account, organization_id, integration_id)"
            " select account, %(id)s, id from numbers",
            {"id": tenant.id, "count": NUMBERS},
        )
        connection.execute("alter table messenger_integrations enable trigger user")
        connection.execute("analyze messenger_integrations, whatsapp_sessions, wpp_accounts")
    listed = tenant.database.integrations.list_page
    all_numbers = [
        each for first in range(0, NUMBERS, 500) for each in listed(None, (), first, 500)[0]
    ]
    assert len({each.id for each in all_numbers}) == NUMBERS
    times = [each.status_at for each in all_numbers if each.status_at]
    assert times == sorted(times, reverse=True)
    for first, following in ((0, 50), (4_975, 5_025), (9_949, 9_999), (9_950, None)):
        page = operator.get("numbers", first=first)
        assert (page["total"], page["next"]) == (NUMBERS, following)
        expected = [str(each.id) for each in all_numbers[first : first + 50]]
        assert [each["id"] for each in page["items"]] == expected
    down = operator.get("numbers", status="down", first=950)
    assert (down["total"], len(down["items"]), down["next"]) == (999, 49, None)

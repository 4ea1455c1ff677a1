"""The pages Keys, Callbacks, Webhooks and Search over HTTP."""

from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from sandbox.supabase.project import Supabase
from shared.events import utc_now
from shared.outcomes import LogOutcome
from tests.workers.ingress.console.conftest import SignedIn
from tests.workers.ingress.tenants import Tenant

SECRET = "whsec_AAAA"


def call(tenant: Tenant, key: str) -> int:
    bearer = {"Authorization": f"Bearer {key}"}
    url = str(tenant.http.base_url)
    return httpx.get(f"{url}/v1/integrations", headers=bearer, trust_env=False).status_code


def test_a_key_is_shown_once_and_ends_when_it_is_revoked(
    operator: SignedIn, tenant: Tenant
) -> None:
    """The list has neither the key nor its hash."""
    body = {"name": "crm", "organization_ids": [str(tenant.id)], "actions": ["integrations:read"]}
    made = operator.post("keys", body)
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    key, key_id = made.json()["key"], made.json()["id"]
    assert call(tenant, key) == 200
    listed = operator.get("keys")
    (shown,) = [each for each in listed["items"] if each["id"] == key_id]
    assert (shown["name"], shown["organizations"], shown["actions"]) == (
        "crm",
        ["Test"],
        ["integrations:read"],
    )
    assert key not in str(listed)
    assert "hash" not in shown
    assert operator.post(f"keys/{key_id}/revoke").json()["text"] == "The key of crm is revoked."
    assert operator.post(f"keys/{key_id}/revoke").status_code == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"actions": ["all"]}, 422),
        ({"organization_ids": []}, 422),
        ({"organization_ids": [str(UUID(int=3))]}, 404),
        ({"name": ""}, 422),
    ],
)
def test_a_mistaken_key_is_not_made(
    operator: SignedIn, tenant: Tenant, change: dict[str, object], status: int
) -> None:
    body = {"name": "mistaken", "organization_ids": [str(tenant.id)], "actions": []}
    assert operator.post("keys", body | change).status_code == status
    assert "mistaken" not in str(operator.get("keys"))


def test_a_callback_that_fails_is_shown_and_posted_again(
    operator: SignedIn, tenant: Tenant, supabase_world: Supabase
) -> None:
    callback_id = uuid4()
    with psycopg.connect(supabase_world.database_url) as db:
        db.execute(
            "insert into wpp_callbacks (id, organization_id, url, secret, position, failing_since)"
            " values (%s, %s, 'https://crm.example.com/', %s, 7, now())",
            (callback_id, tenant.id, SECRET),
        )
        db.execute(
            "insert into wpp_callback_deliveries (organization_id, callback_id, event_id,"
            " webhook_id, type, attempt, outcome, status, error) values"
            " (%s, %s, 5, 'evt_5', 'message.sent', 1, 'failed', 500, 'answered 500')",
            (tenant.id, callback_id),
        )
    (shown,) = operator.get("callbacks", organization_id=str(tenant.id))["items"]
    assert (shown["url"], shown["organization"]) == ("https://crm.example.com/", "Test")
    assert shown["failing_since"]
    page = operator.get(f"callbacks/{callback_id}")
    (delivery,) = page["items"]
    assert (delivery["outcome"], delivery["error"]) == ("failed", "answered 500")
    assert SECRET not in str(page)
    again = operator.post(f"callbacks/{callback_id}/replay", {"since": "2026-11-29T12:00:00Z"})
    assert again.json()["done"]
    gone = operator.post(f"callbacks/{callback_id}/deliveries/{delivery['id']}/replay")
    assert (gone.status_code, "not stored any more" in gone.text) == (404, True)
    missing = operator.http.get(f"/console/data/callbacks/{uuid4()}")
    assert missing.status_code == 404


def test_webhooks_are_found_and_applied_again_with_masked_values(
    operator: SignedIn, tenant: Tenant
) -> None:
    tenant.add_integration("4711")
    event = LogOutcome(
        at=utc_now(),
        id=uuid4(),
        account="4711",
        event_type="poll.created",
        payload={"type": "poll.created", "voter": "79991234567"},
        became="unknown",
    )
    tenant.database.outcomes.apply([event.model_dump(mode="json")])
    (shown,) = operator.get("webhooks", account="4711", event_type="poll.created")["items"]
    assert (shown["became"], shown["organization_id"]) == ("unknown", str(tenant.id))
    assert shown["sample"] == {"type": "poll.created", "voter": "00000000000"}
    (shape,) = operator.get("webhooks/unrecognized")["items"]
    assert (shape["event_type"], shape["events"]) == ("poll.created", 1)
    done = operator.post("webhooks/replay", {"ids": [shown["id"]]}).json()
    assert (done["events"], done["unrecognized"]) == (1, 1)
    assert operator.post("webhooks/replay", {"ids": []}).status_code == 422


def test_a_search_leads_to_an_organization_and_its_number(
    operator: SignedIn, tenant: Tenant
) -> None:
    path = tenant.add_integration("4712")
    (hit,) = operator.get("search", text=str(tenant.id))["items"]
    assert (hit["kind"], hit["title"]) == ("organization", "Test")
    (hit,) = operator.get("search", text="4712")["items"]
    assert (hit["kind"], hit["id"]) == ("number", path.rsplit("/", 1)[-1])
    assert operator.get("search", text="  ")["items"] == []

"""POST /v1/messages/{id}/cancel: a message that waits is taken back."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from sandbox.supabase.project import Supabase
from shared import routing
from shared.events import ChangeEvent
from shared.lanes.client import Lanes
from shared.lanes.types import Claim, ClaimSequence, Postponed, Settled
from shared.outbox import Outbox
from shared.outcomes import MessageOutcome
from shared.redis import keys
from shared.settings import EngineSettings
from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.tenants import Tenant

HELLO = {"to": "+7 999 000-11-22", "text": "Hello"}


def send_message(tenant: Tenant, **more: object) -> str:
    answer = tenant.post("/v1/messages", {**HELLO, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


@pytest.fixture
def lanes(tenant: Tenant) -> Lanes:
    return Lanes(tenant.client, EngineSettings())


def take(lanes: Lanes) -> Claim | None:
    return lanes.claim("send", ClaimSequence())


def last_row(tenant: Tenant) -> MessageOutcome:
    rows = [entry.row for entry in Outbox(tenant.client).read(gather_s=0)]
    return MessageOutcome.model_validate(rows[-1])


def test_a_scheduled_message_is_shown_with_its_date_and_cancelled(
    tenant: Tenant, lanes: Lanes
) -> None:
    """API, record and row tell the same."""
    tenant.add_integration("42")
    at = datetime.now(UTC) + timedelta(days=30)
    answer = tenant.post("/v1/messages", {**HELLO, "send_at": at.isoformat()})
    assert answer.json()["status"] == "scheduled"
    path = answer.headers["Location"]
    found = tenant.http.get(path).json()
    assert found["status"] == "scheduled"
    assert abs(datetime.fromisoformat(found["send_at"]) - at) < timedelta(milliseconds=1)
    for _ in range(2):
        cancelled = tenant.post(f"{path}/cancel")
        assert cancelled.status_code == 200, cancelled.text
        assert (cancelled.json()["status"], cancelled.json()["code"]) == ("cancelled", "cancelled")
    assert tenant.http.get(path).json()["status"] == "cancelled"
    row = last_row(tenant)
    tenant.database.outcomes.apply([row.model_dump(mode="json", exclude_none=True)])
    tenant.client.delete(keys.event(row.id))
    found = tenant.http.get(path).json()
    assert (found["status"], found["code"], found["reason"]) == (
        "cancelled",
        "cancelled",
        "cancelled before it was sent",
    ), "also when its record is gone"
    assert (row.status, row.error) == ("failed", "cancelled before it was sent")
    assert row.metadata["retry_count"] == 99, "no page sends it again"
    assert take(lanes) is None


def test_a_paced_message_is_cancelled_and_the_next_goes_on(tenant: Tenant, lanes: Lanes) -> None:
    tenant.add_integration("42")
    first, second = send_message(tenant), send_message(tenant, text="Next")
    claim = take(lanes)
    assert claim
    lanes.conclude(claim, Postponed(3600, "paced"))
    assert tenant.post(f"{first}/cancel").json()["status"] == "cancelled"
    following = take(lanes)
    assert following
    assert str(following.id) in second


def test_a_message_that_is_being_sent_or_was_is_refused(tenant: Tenant, lanes: Lanes) -> None:
    tenant.add_integration("42")
    path = send_message(tenant)
    claim = take(lanes)
    assert claim
    refused = tenant.post(f"{path}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_waiting")
    assert "being sent at this moment" in refused.json()["detail"]
    lanes.conclude(claim, Settled("sent"))
    refused = tenant.post(f"{path}/cancel")
    assert refused.status_code == 409
    assert refused.json()["detail"].endswith("its status is sent")


def test_a_repeated_request_is_answered_as_cancelled(tenant: Tenant, lanes: Lanes) -> None:
    """Its key does not send it after all."""
    tenant.add_integration("42")
    sent = tenant.post("/v1/messages", HELLO, key="once")
    tenant.post(f"{sent.headers['Location']}/cancel")
    again = tenant.post("/v1/messages", HELLO, key="once")
    assert (again.status_code, again.json()["status"]) == (202, "cancelled")
    assert take(lanes) is None


def test_only_a_message_is_cancelled(tenant: Tenant, lanes: Lanes) -> None:
    """A change of a message has an id of its own, which no route tells."""
    number = UUID(tenant.add_integration("42").rsplit("/", 1)[-1])
    change = ChangeEvent(
        id=uuid4(),
        action="delete",
        organization_id=tenant.id,
        integration_id=number,
        to="79990001122",
        message_id=uuid4(),
    )
    lanes.append(routing.route_event(change))
    assert tenant.post(f"/v1/messages/{change.id}/cancel").status_code == 404
    assert take(lanes)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"send_at": "2026-12-01T09:00:00"}, "send_at"),
        ({"send_at": "9999-12-31T23:59:59-12:00"}, "send_at"),
        ({"delay_s": 366 * 86_400 + 1}, "delay_s"),
        ({"delay_s": 5, "send_at": "2026-12-01T09:00:00Z"}, "delay_s"),
        ({"priority": "urgent"}, "priority"),
    ],
    ids=["without-zone", "too-far", "too-long", "both", "priority"],
)
def test_an_impossible_date_or_priority_is_named(
    tenant: Tenant, given: dict[str, object], field: str
) -> None:
    tenant.add_integration("42")
    answer = tenant.post("/v1/messages", {**HELLO, **given})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize("at", ["2026-01-01T09:00:00+03:00", "0001-01-01T00:00:00+14:00"])
def test_a_date_that_has_passed_is_now(tenant: Tenant, lanes: Lanes, at: str) -> None:
    tenant.add_integration("42")
    assert tenant.post("/v1/messages", {**HELLO, "send_at": at}).json()["status"] == "queued"
    assert take(lanes)


def test_another_organization_cancels_nothing(
    tenant: Tenant, ingress_with_supabase: IngressProcess, supabase_world: Supabase
) -> None:
    tenant.add_integration("42")
    path = send_message(tenant)
    with Tenant.new(ingress_with_supabase, supabase_world, tenant.client) as other:
        assert other.post(f"{path}/cancel").status_code == 404
    assert tenant.http.get(path).json()["status"] == "queued"


def test_messages_of_a_batch_have_dates(tenant: Tenant) -> None:
    """Each is shown as scheduled, also to a request that is repeated."""
    tenant.add_integration("42")
    batch = {"messages": [{**HELLO, "delay_s": 3600}, HELLO]}
    for _ in range(2):
        answer = tenant.post("/v1/messages/batch", batch, key="batch")
        assert [each["status"] for each in answer.json()["items"]] == ["scheduled", "queued"]

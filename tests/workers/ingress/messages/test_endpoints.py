"""Messages at the door: accepted, told of, settled."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from shared.events import SendEvent
from shared.lanes.client import Lanes, Settled, Slot
from shared.lanes.records import find_record
from shared.outcomes import StatusOutcome
from shared.routing import build_message_outcome
from shared.settings import EngineSettings
from tests.workers.ingress.tenants import Tenant

HELLO = {"to": "+7 999 000-11-22", "text": "Hello"}


def sent(tenant: Tenant, **more: object) -> str:
    """Return the path of a message that was just accepted."""
    answer = tenant.post("/v1/messages", {**HELLO, **more})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/messages/{answer.json()['id']}"
    return str(answer.headers["Location"])


def test_an_accepted_message_is_kept_and_told_of(tenant: Tenant) -> None:
    """It stands in its conversation's lane, and its path answers at once."""
    number = tenant.number("42").rsplit("/", 1)[-1]
    path = sent(tenant)
    record = find_record(tenant.client, UUID(path.rsplit("/", 1)[-1]))
    assert record
    assert record.lane == f"send:{number}:79990001122"
    told = tenant.http.get(path).json()
    assert (told["status"], told["attempts"], told["reason"], told["code"]) == (
        "queued",
        0,
        None,
        None,
    )
    accepted_at = datetime.fromisoformat(told["accepted_at"])
    assert datetime.now(UTC) - accepted_at < timedelta(seconds=10)


def test_a_failed_message_says_why_in_a_word_and_a_sentence(tenant: Tenant) -> None:
    """The word is the one of its dead letter."""
    tenant.number("42")
    path = sent(tenant)
    tenant.settle(
        "send", Settled("failed", fields={"reason": "400: no such recipient", "code": "refused"})
    )
    told = tenant.http.get(path).json()
    assert (told["status"], told["code"], told["reason"]) == (
        "failed",
        "refused",
        "400: no such recipient",
    )


def test_what_webhooks_told_since_is_the_status(tenant: Tenant) -> None:
    """The ledger knows that it went out; Supabase, that it was read."""
    tenant.number("42")
    path = sent(tenant)
    event_id = tenant.settle("send", Settled("sent", fields={"task_id": "t1"}))
    assert tenant.http.get(path).json()["status"] == "sent"
    number = UUID(tenant.http.get("/v1/integrations").json()[0]["integration_id"])
    event = SendEvent(
        id=event_id,
        organization_id=tenant.id,
        integration_id=number,
        to="79990001122",
        text="Hello",
    )
    read = build_message_outcome(event, "read", datetime.now(UTC))
    tenant.database.outcomes.apply([read.model_dump(mode="json", exclude_none=True)])
    told = tenant.http.get(path).json()
    assert (told["status"], told["task_id"]) == ("read", "t1")


def test_the_history_tells_what_happened(tenant: Tenant) -> None:
    """From the moment at which it was accepted, each status with its time and who said so."""
    tenant.number("42")
    path = sent(tenant)
    (queued,) = tenant.http.get(f"{path}/history").json()
    assert (queued["status"], queued["source"], queued["error"]) == ("queued", "own", None)
    number = UUID(tenant.http.get("/v1/integrations").json()[0]["integration_id"])
    event_id = UUID(path.rsplit("/", 1)[-1])
    event = SendEvent(
        id=event_id,
        organization_id=tenant.id,
        integration_id=number,
        to="79990001122",
        text="Hello",
    )
    said = [
        build_message_outcome(event, "queued", event.accepted_at),
        build_message_outcome(event, "sent", datetime.now(UTC)),
    ]
    read = StatusOutcome(
        at=datetime.now(UTC) + timedelta(seconds=1),
        account="42",
        external_ids=["t1"],
        task_id="t1",
        status="read",
    )
    outcomes = [said[0], said[1].model_copy(update={"task_id": "t1"}), read]
    tenant.database.outcomes.apply(
        [outcome.model_dump(mode="json", exclude_none=True) for outcome in outcomes]
    )
    told = tenant.http.get(f"{path}/history").json()
    assert [(each["status"], each["source"]) for each in told] == [
        ("queued", "own"),
        ("sent", "own"),
        ("read", "platform"),
    ]
    assert [each["at"] for each in told] == sorted(each["at"] for each in told)


def test_the_history_of_nobody_s_message_is_not_found(tenant: Tenant) -> None:
    """An unknown id has none."""
    assert tenant.http.get(f"/v1/messages/{uuid4()}/history").status_code == 404


def test_a_message_may_be_given_little_time(tenant: Tenant) -> None:
    """In whole seconds; what is no time is refused by its field."""
    tenant.number("42")
    sent(tenant, expires_in_s=60)
    claim = Lanes(tenant.client, EngineSettings()).claim("send", Slot())
    assert claim
    assert claim.expires_ms - claim.accepted_ms == 60_000
    wrong = tenant.post("/v1/messages", {**HELLO, "expires_in_s": 0})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "expires_in_s")


def test_without_a_number_there_is_nothing_to_send_from(tenant: Tenant) -> None:
    """404 that says what to do; an id of nobody's is a different one."""
    assert "POST /v1/integrations" in tenant.post("/v1/messages", HELLO).json()["detail"]
    other = str(uuid4())
    answer = tenant.post("/v1/messages", {**HELLO, "integration_id": other})
    assert answer.status_code == 404
    assert other in answer.json()["detail"]


def test_provisioning_events_are_no_messages(tenant: Tenant) -> None:
    """An id of the same organization that stands for something else is not found."""
    number = tenant.post("/v1/integrations", {}).json()["integration_id"]
    assert tenant.http.get(f"/v1/messages/{number}").status_code == 404

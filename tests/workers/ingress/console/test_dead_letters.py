"""The pages Dead letters and Unknown: found, put back, dropped, settled; told who was first."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared import routing
from shared.events import Message, SendEvent, utc_now
from shared.lanes.client import Lanes
from shared.lanes.types import ClaimSequence
from shared.outcomes import DeadLetterOutcome
from shared.settings import EngineSettings
from tests.draining import parse_first
from tests.workers.ingress.console.conftest import SignedIn
from tests.workers.ingress.tenants import Tenant
from workers.ingress.console.routes import ROUTERS
from workers.send import in_doubt

PEER = "79990001122"
NUMBER = UUID(int=2)
CHANGES = sorted(
    route.path  # type: ignore[attr-defined]
    for router in ROUTERS
    for route in router.routes
    if "POST" in route.methods and route.path.startswith("/console/data/")  # type: ignore[attr-defined]
)


def add_letter(tenant: Tenant, **given: Any) -> UUID:
    """Store the dead letter of a message; return its id."""
    item = routing.route_send(tenant.id, NUMBER, Message(to=PEER, text="Hello"))
    letter = DeadLetterOutcome(
        id=item.id,
        at=utc_now(),
        organization_id=tenant.id,
        kind="send",
        lane=item.lane,
        reason=given.get("reason", "refused"),
        detail="the platform said no",
        attempts=1,
        accepted_at=utc_now(),
        event=json.loads(item.body),
    )
    tenant.database.outcomes.apply([letter.model_dump(mode="json")])
    return item.id


def add_unknown(tenant: Tenant) -> UUID:
    """Let a message become unknown; return its id."""
    lanes = Lanes(tenant.client, EngineSettings())
    accepted = lanes.append(routing.route_send(tenant.id, NUMBER, Message(to=PEER, text="Perhaps")))
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    settle = parse_first(SendEvent, in_doubt.settle_as_unknown)
    lanes.conclude(claim, settle(claim, "its reply was lost", None))
    return accepted.id


def done(operator: SignedIn, path: str, body: Any = None) -> tuple[bool, str]:
    answer = operator.post(path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()["done"], answer.json()["text"]


@pytest.mark.parametrize("path", CHANGES)
def test_no_change_is_made_without_the_session_s_token(operator: SignedIn, path: str) -> None:
    """Nor from another site; before the body is looked at."""
    named = path.removeprefix("/console/data/").replace("{delivery_id}", "1")
    for name in ("letter_id", "message_id", "callback_id", "key_id"):
        named = named.replace(f"{{{name}}}", str(uuid4()))
    for headers in ({"X-CSRF-Token": ""}, {"Origin": "https://evil.example"}):
        assert operator.post(named, None, **headers).status_code == 403


def test_a_letter_is_put_back_once(operator: SignedIn, tenant: Tenant) -> None:
    letter = add_letter(tenant)
    found = operator.get("dead-letters", organization_id=str(tenant.id))
    assert found["total"] == 1
    (shown,) = found["items"]
    assert (shown["id"], shown["to"], shown["organization"]) == (str(letter), PEER, "Test")
    assert shown["number"] == str(NUMBER)
    assert "event" not in shown
    path = f"dead-letters/{letter}/replay"
    assert done(operator, path) == (True, "It is back in its queue.")
    assert done(operator, path) == (False, "Nothing was done: it was put back by Olga.")
    assert operator.get("dead-letters", organization_id=str(tenant.id))["items"] == []
    assert tenant.count_waiting("send") == 1
    assert operator.post(f"dead-letters/{uuid4()}/replay").status_code == 404


def test_a_dropped_letter_names_who_and_why(operator: SignedIn, tenant: Tenant) -> None:
    letter = add_letter(tenant)
    path = f"dead-letters/{letter}/drop"
    assert operator.post(path, {"why": ""}).status_code == 422
    assert done(operator, path, {"why": "called"}) == (True, "It is dropped.")
    told = (False, "Nothing was done: it was dropped by Olga: called.")
    assert done(operator, path, {"why": "again"}) == told
    assert done(operator, f"dead-letters/{letter}/replay") == told
    (shown,) = operator.get("dead-letters", organization_id=str(tenant.id), closed=True)["items"]
    assert shown["closed"] == "dropped by Olga: called"


def test_all_that_match_are_put_back_in_slices(operator: SignedIn, tenant: Tenant) -> None:
    for _ in range(22):
        add_letter(tenant, reason="expired")
    add_letter(tenant)
    until = operator.get("dead-letters")["now"]
    add_letter(tenant, reason="expired")  # after it was asked for
    body = {
        "filter": {"organization_id": str(tenant.id), "reason": "expired"},
        "until": until,
        "after": None,
    }
    first = operator.post("dead-letters/replay", body).json()
    second = operator.post("dead-letters/replay", {**body, "after": first["next"]}).json()
    assert (first["replayed"], second["replayed"], second["next"]) == (20, 2, None)
    assert operator.get("dead-letters", organization_id=str(tenant.id))["total"] == 2


def test_a_list_goes_on_where_its_page_ended(operator: SignedIn, tenant: Tenant) -> None:
    ids = {str(add_letter(tenant)) for _ in range(52)}
    first = operator.get("dead-letters", organization_id=str(tenant.id))
    second = operator.get("dead-letters", organization_id=str(tenant.id), cursor=first["next"])
    assert (len(first["items"]), len(second["items"]), second["next"]) == (50, 2, None)
    assert {each["id"] for each in first["items"] + second["items"]} == ids


def test_an_unknown_message_is_settled_once(operator: SignedIn, tenant: Tenant) -> None:
    """Its page shows its life, and who settled it is told to the second who tries."""
    message = add_unknown(tenant)
    found = operator.get("unknown", organization_id=str(tenant.id))
    (shown,) = found["items"]
    assert (shown["id"], shown["to"], shown["reason"]) == (
        str(message),
        PEER,
        "its reply was lost",
    )
    path = f"unknown/{message}/settle"
    assert operator.post(path, {"outcome": "perhaps"}).status_code == 422
    assert done(operator, path, {"outcome": "failed"}) == (True, "It is settled as failed.")
    assert done(operator, path, {"outcome": "sent"}) == (
        False,
        "Nothing was done: its status is failed, settled by Olga.",
    )
    assert operator.get("unknown", organization_id=str(tenant.id))["items"] == []


def test_a_message_that_waits_is_shown_and_cancelled(operator: SignedIn, tenant: Tenant) -> None:
    tenant.add_integration("42")
    sent = tenant.post("/v1/messages", {"to": f"+{PEER}", "text": "Hello"}).json()["id"]
    assert operator.get(f"messages/{sent}")["status"] == "queued"
    assert done(operator, f"messages/{sent}/cancel")[0]
    assert operator.post(f"messages/{uuid4()}/cancel").status_code == 404
    assert operator.http.get(f"/console/data/messages/{uuid4()}").status_code == 404

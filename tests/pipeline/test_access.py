"""Access to the HTTP API and its error responses, through the whole system."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from shared import signed_keys
from shared.service_keys import make_key
from tests.fixtures.system import System, texts_sent_to
from tests.fixtures.waiting import wait_until

Number = tuple[UUID, dict[str, Any]]
HELLO = {"to": "+79990001122", "text": "Hello"}


@pytest.mark.parametrize(
    "bearer", ["", "Bearer", "Bearer nonsense", "Basic dXNlcjpwYXNz", "Bearer a.b.c"]
)
def test_missing_or_invalid_credentials_are_401(system: System, bearer: str) -> None:
    """Every route answers with a problem."""
    for method, path in [
        ("POST", "/v1/messages"),
        ("GET", "/v1/integrations"),
        ("POST", "/v1/integrations"),
    ]:
        answer = httpx.request(
            method, system.url + path, json=HELLO, headers={"Authorization": bearer}
        )
        assert answer.status_code == 401
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_key_of_another_server_gets_401(system: System) -> None:
    """A well-formed key that was never stored here is invalid."""
    key = make_key()
    assert (
        httpx.get(
            f"{system.url}/v1/integrations", headers={"Authorization": f"Bearer {key}"}
        ).status_code
        == 401
    )


def test_a_signed_in_member_acts_for_their_organization(system: System) -> None:
    """A Supabase session is enough; the organization comes from the user's profile."""
    signed_in = httpx.post(
        f"{system.environment['SUPABASE_URL'].rstrip('/')}/auth/v1/token?grant_type=password",
        json={"email": "demo@example.com", "password": "password"},
        headers={"apikey": system.environment["SUPABASE_ANON_KEY"]},
    ).json()
    bearer = {"Authorization": f"bearer {signed_in['access_token']}"}
    answer = httpx.get(f"{system.url}/v1/integrations", headers=bearer)
    assert (answer.status_code, answer.json()) == (200, [])


def test_ids_of_another_organization_are_not_found(system: System, number: Number) -> None:
    """For reading, sending, connecting and disconnecting."""
    organization_id, integration = number
    theirs = integration["integration_id"]
    with system.service_client(organization_id) as crm:
        sent = crm.post("/v1/messages", json=HELLO).headers["Location"]
    with system.service_client(system.add_organization()) as other:
        answers = [
            other.get(sent),
            other.get(f"{sent}/history"),
            other.post(f"{sent}/resolution", json={"outcome": "sent"}),
            other.get(f"/v1/integrations/{theirs}"),
            other.delete(f"/v1/integrations/{theirs}"),
            other.post("/v1/messages", json={**HELLO, "integration_id": theirs}),
            other.post("/v1/integrations", json={"integration_id": theirs}),
        ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"text": "Hello"}, "to"),
        ({"to": "+79990001122", "text": "Hello", "txt": 1}, "txt"),
        ({"to": "+79990001122", "text": "Hello", "integration_id": "no"}, "integration_id"),
        ({"to": "+79990001122", "media": {"type": "image", "url": "ftp://x"}}, "media.url"),
        ({"to": "not a phone", "text": "Hello"}, "to"),
        ({"to": "+79990001122"}, "text"),
    ],
)
def test_an_invalid_field_is_named(
    system: System, number: Number, wrong: dict[str, Any], field: str
) -> None:
    """The response is 422 with the field and its error; nothing is enqueued."""
    with system.service_client(number[0]) as crm:
        answer = crm.post("/v1/messages", json=wrong)
    assert answer.status_code == 422
    assert field in {error["field"] for error in answer.json()["errors"]}


def test_the_same_key_is_the_same_message(system: System, number: Number) -> None:
    """With the same body: one message. With another body: 422."""
    organization_id, integration = number
    body = {"to": "+79990007788", "text": "Once"}
    with system.service_client(organization_id) as crm:
        key = {"Idempotency-Key": str(uuid4())}
        answers = [crm.post("/v1/messages", json=body, headers=key) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert (
            crm.post("/v1/messages", json={**body, "text": "Twice"}, headers=key).status_code == 422
        )
        wait_until(
            lambda: crm.get(answers[0].headers["Location"]).json()["status"] == "read",
            "the message to be read",
        )
    assert texts_sent_to(system, integration["account_number"], "79990007788") == ["Once"]


def test_a_webhook_needs_its_key(system: System, number: Number) -> None:
    """A wrong key and the key of another account are 404."""
    account = number[1]["account_number"]
    other = signed_keys.make_webhook_key("0000000009999", system.secrets)
    for key in ("wrong", other):
        answer = httpx.post(
            f"{system.url}/webhooks/wpp/{account}/{key}", json={"type": "connected"}
        )
        assert answer.status_code == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_a_malformed_webhook_is_400(system: System, number: Number, body: bytes) -> None:
    """A body that is not JSON, or not an event, is never a 500."""
    account = number[1]["account_number"]
    url = signed_keys.make_webhook_url(system.url, account, system.secrets)
    assert httpx.post(url, content=body).status_code == 400


def test_openapi_lists_the_routes(system: System) -> None:
    """The OpenAPI document has the routes of messages and integrations."""
    paths = httpx.get(f"{system.url}/openapi.json").json()["paths"]
    assert {
        "/v1/messages",
        "/v1/messages/{message_id}",
        "/v1/integrations",
        "/v1/integrations/{integration_id}",
    } <= set(paths)

"""A plain send is answered as by its route, which FastAPI serves."""

import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.workers.ingress.tenants import Tenant
from workers.ingress.app import create_api
from workers.ingress.messages import direct

BY_ROUTE = {"Prefer": "wait=0"}
"""A header without effect, of requests that are not plain."""
SOMEBODY = UUID("00000000-0000-4000-8000-00000000000f")
HELLO = {"to": "+7 999 000-11-22", "text": "Hello"}
OTHER_PERSON = {"client_id": str(SOMEBODY)}
BODIES: list[dict[str, Any] | bytes] = [
    HELLO,
    {"to": "+79990001122", "location": {"lat": 1, "lng": 2.5}},
    {"to": "+79990001122", "contact": {"name": "Ann", "phones": ["+79990001123"]}},
    {**HELLO, "media": {"type": "image", "url": "https://files.example/a.png"}},
    {**HELLO, "delay_s": 60, "priority": "high"},
    {**HELLO, "unknown": 1},
    {**HELLO, "text": ""},
    {**HELLO, "to": "abc"},
    {**HELLO, "to": None},
    {**HELLO, "integration_id": str(SOMEBODY)},
    OTHER_PERSON,
    {"to": "+79990001122", "location": {"lat": 100, "lng": 2.5}},
    b'{"to": "+79990001122", "text": "\\ud83d"}',
    b'{"to": "+79990001122", "text": "a", "text": "b"}',
    b'\xef\xbb\xbf{"to": "+79990001122", "text": "a"}',
    json.dumps(HELLO).encode("utf-16"),
    b'{"to": "+79990001122", "text": "\xff"}',
    b'{"to": "+79990001122", "location": {"lat": NaN, "lng": 1}}',
    b'{"text": ',
    b"[]",
    b"null",
]


def describe(answer: httpx.Response) -> dict[str, Any]:
    """Return what two answers to the same request have in common."""
    made = answer.json().get("id", "-")
    varying = ("date", "ratelimit", "content-length")
    headers = {name: value for name, value in answer.headers.items() if name not in varying}
    return {
        "status": answer.status_code,
        "headers": {name: value.replace(made, "id") for name, value in headers.items()},
        "body": answer.text.replace(made, "id"),
    }


def post(tenant: Tenant, body: dict[str, Any] | bytes, headers: dict[str, str]) -> dict[str, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json", **headers}
    return describe(tenant.http.post("/v1/messages", content=content, headers=given))


@pytest.mark.parametrize("body", BODIES, ids=repr)
def test_a_body_is_answered_as_by_the_route(tenant: Tenant, body: dict[str, Any] | bytes) -> None:
    """Accepted or refused, with the same headers."""
    tenant.add_integration("42")
    assert post(tenant, body, {}) == post(tenant, body, BY_ROUTE)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer wpk_{43 * 'x'}"},
        {"Wpp-Organization": str(SOMEBODY)},
        {"Idempotency-Key": ""},
        {"Idempotency-Key": 256 * "k"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "application/problem+json"},
    ],
    ids=repr,
)
def test_headers_are_answered_as_by_the_route(tenant: Tenant, headers: dict[str, str]) -> None:
    """Credentials, keys and media types."""
    tenant.add_integration("42")
    assert post(tenant, HELLO, headers) == post(tenant, HELLO, {**headers, **BY_ROUTE})


def test_an_idempotency_key_names_the_same_message_on_both_ways(tenant: Tenant) -> None:
    """A repeated request is told so, and another message with the key is refused."""
    tenant.add_integration("42")
    key = {"Idempotency-Key": "order-17"}
    first = post(tenant, HELLO, key)
    again, by_route = post(tenant, HELLO, key), post(tenant, HELLO, {**key, **BY_ROUTE})
    assert (first["status"], again) == (202, by_route)
    assert "idempotent-replayed" not in first["headers"]
    assert again["headers"]["idempotent-replayed"] == "true"
    other = {**HELLO, "text": "Bye"}
    refused = post(tenant, other, key)
    assert (refused["status"], refused) == (422, post(tenant, other, {**key, **BY_ROUTE}))


def scope(**more: Any) -> dict[str, Any]:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"20"),
        *((name.encode(), value.encode()) for name, value in more.pop("headers", ())),
    ]
    plain = {"method": "POST", "path": "/v1/messages", "query_string": b"", "headers": headers}
    return {**plain, **more}


def test_a_plain_request_is_recognized_by_its_head() -> None:
    """The idempotency key is read along the way."""
    assert direct.read_head(scope()) == direct.Head(None)
    found = direct.read_head(scope(headers=[("idempotency-key", "order-17")]))
    assert found == direct.Head("order-17")


@pytest.mark.parametrize(
    "other",
    [
        {"method": "GET"},
        {"path": "/v1/messages/batch"},
        {"query_string": b"dry_run=true"},
        {"headers": [("origin", "https://crm.example")]},
        {"headers": [("prefer", "wait=5")]},
        {"headers": [("transfer-encoding", "chunked")]},
        {"headers": [("idempotency-key", "a"), ("idempotency-key", "b")]},
        {"headers": [("content-type", "application/json")]},
    ],
    ids=repr,
)
def test_other_requests_go_to_their_route(other: dict[str, Any]) -> None:
    """What a plain request does not have is read by FastAPI."""
    assert direct.read_head(scope(**other)) is None


def test_the_document_knows_no_more_than_is_read_here() -> None:
    """A parameter that the route gets one day has to be read here, too, or passed on."""
    document = create_api().openapi()
    operation = document["paths"][direct.PATH]["post"]
    assert operation["operationId"] == direct.OPERATION
    names = {each["name"].lower() for each in operation["parameters"]}
    assert names == {"prefer", "dry_run", "idempotency-key", "wpp-organization"}

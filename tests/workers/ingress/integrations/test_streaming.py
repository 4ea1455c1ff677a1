"""The stream of integrations, and held responses."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import redis

from shared.outbox import Outbox
from tests.workers.ingress.tenants import Tenant
from workers.ingress.deps import MAX_PREFER_WAIT_S, parse_prefer_wait

RETRY = "retry: 1000"


def next_list(lines: Iterator[str]) -> list[dict[str, Any]]:
    """Return the next list of integrations in the stream."""
    line = next(line for line in lines if line.startswith("data: "))
    found: list[dict[str, Any]] = json.loads(line.removeprefix("data: "))
    return found


def announce_change(client: redis.Redis, organization_id: UUID) -> None:
    """Announce a change as the recorder does."""
    change = {
        "organization_id": str(organization_id),
        "integration_id": str(uuid4()),
        "what": "session",
    }
    Outbox(client, "test").publish_changes([change])


def test_the_stream_sends_the_list_and_then_changes(tenant: Tenant) -> None:
    """The list is that of GET; a recorded change is sent at once."""
    tenant.add_integration("42", "starting")
    with tenant.http.stream("GET", "/v1/integrations/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.headers["Cache-Control"] == "no-cache, no-store"
        lines = stream.iter_lines()
        assert next(lines) == RETRY
        assert next_list(lines) == tenant.http.get("/v1/integrations").json()
        began = time.monotonic()
        tenant.set_status("42", "connected")
        announce_change(tenant.client, tenant.id)
        assert [each["status"] for each in next_list(lines)] == ["connected"]
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("wait=10", 10),
        ('respond-async, wait="7"', 7),
        ("WAIT = 3; x", 3),
        ("wait=9999", MAX_PREFER_WAIT_S),
        ("waiting=5", 0),
        ("wait=-1", 0),
        ("wait=soon", 0),
    ],
)
def test_prefer_wait_is_parsed(prefer: str | None, seconds: int) -> None:
    """RFC 7240, bounded; an unreadable preference is ignored."""
    assert parse_prefer_wait(prefer) == seconds


def test_a_held_response_ends_with_the_qr_code(tenant: Tenant) -> None:
    """Long before its time is over, by a notification."""
    path = tenant.add_integration("42", "disconnected")
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(tenant.http.post(f"{path}/reconnect", headers={"Prefer": "wait=9"}))

    asking, began = threading.Thread(target=ask), time.monotonic()
    asking.start()
    while not tenant.count_waiting("provision") or not tenant.client.pubsub_channels():
        assert time.monotonic() - began < 5
        time.sleep(0.02)
    tenant.set_status("42", "qr_issued", qr="2@code")
    announce_change(tenant.client, tenant.id)
    asking.join(5)
    (answer,) = answers
    assert time.monotonic() - began < 5
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "wait=9")
    assert (answer.json()["status"], answer.json()["qrcode"]) == ("qr_issued", "2@code")


def test_a_held_response_ends_with_its_time(tenant: Tenant) -> None:
    """It has the current state."""
    path, began = tenant.add_integration("42", "disconnected"), time.monotonic()
    answer = tenant.http.post(f"{path}/reconnect", headers={"Prefer": "wait=1"})
    assert 1 <= time.monotonic() - began < 4
    assert (answer.status_code, answer.json()["status"]) == (202, "starting")

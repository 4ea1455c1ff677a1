"""The stream of an organization's numbers, and answers that are held until there is something to see."""

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


def told(lines: Iterator[str]) -> list[dict[str, Any]]:
    """Return the next list of numbers that the stream tells."""
    line = next(line for line in lines if line.startswith("data: "))
    found: list[dict[str, Any]] = json.loads(line.removeprefix("data: "))
    return found


def recorded(client: redis.Redis, organization_id: UUID) -> None:
    """Announce a change as the recorder does."""
    change = {
        "organization_id": str(organization_id),
        "integration_id": str(uuid4()),
        "what": "session",
    }
    Outbox(client, "test").publish_changes([change])


def test_the_stream_begins_with_how_things_are_and_goes_on_with_changes(tenant: Tenant) -> None:
    """As the same list that GET gives; a change that is recorded is told at once."""
    tenant.number("42", "starting")
    with tenant.http.stream("GET", "/v1/integrations/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.headers["Cache-Control"] == "no-cache, no-store"
        lines = stream.iter_lines()
        assert next(lines) == RETRY
        assert told(lines) == tenant.http.get("/v1/integrations").json()
        began = time.monotonic()
        tenant.become("42", "connected")
        recorded(tenant.client, tenant.id)
        assert [each["status"] for each in told(lines)] == ["connected"]
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
def test_how_long_a_caller_prefers_to_wait(prefer: str | None, seconds: int) -> None:
    """RFC 7240, bounded; what cannot be read is no preference."""
    assert parse_prefer_wait(prefer) == seconds


def test_a_held_answer_comes_when_there_is_something_to_see(tenant: Tenant) -> None:
    """Long before its time is over, because it is told."""
    place = tenant.number("42", "disconnected")
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(tenant.http.post(f"{place}/reconnect", headers={"Prefer": "wait=9"}))

    asking, began = threading.Thread(target=ask), time.monotonic()
    asking.start()
    while not tenant.waiting("provision") or not tenant.client.pubsub_channels():
        assert time.monotonic() - began < 5
        time.sleep(0.02)
    tenant.become("42", "qr_issued", qr="2@code")
    recorded(tenant.client, tenant.id)
    asking.join(5)
    (answer,) = answers
    assert time.monotonic() - began < 5
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "wait=9")
    assert (answer.json()["status"], answer.json()["qrcode"]) == ("qr_issued", "2@code")


def test_a_held_answer_ends_with_its_time(tenant: Tenant) -> None:
    """With how things are by then."""
    place, began = tenant.number("42", "disconnected"), time.monotonic()
    answer = tenant.http.post(f"{place}/reconnect", headers={"Prefer": "wait=1"})
    assert 1 <= time.monotonic() - began < 4
    assert (answer.status_code, answer.json()["status"]) == (202, "starting")

"""The stream of events: what it sends, how it resumes, what it refuses."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis

from sandbox.supabase.project import Supabase
from shared.outbox import Outbox
from shared.outcomes import MessageOutcome
from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.tenants import Tenant

PATH = "/v1/events"


def arrive(tenant: Tenant, text: str, account: str = "42", phone: str = "79990001122") -> None:
    """Record a message that arrives, and announce it as the recorder does."""
    outcome = MessageOutcome(
        at=datetime.now(UTC),
        id=uuid4(),
        account=account,
        outgoing=False,
        phone=phone,
        text=text,
        status="delivered",
        wa_message_id=f"false_{phone}@c.us_{uuid4().hex.upper()}",
    )
    applied = tenant.database.outcomes.apply([outcome.model_dump(mode="json", exclude_none=True)])
    Outbox(tenant.client).publish_changes(applied.changed)


def next_event(lines: Iterator[str]) -> dict[str, Any]:
    """Return the fields of the next event of a stream, its data as JSON."""
    fields: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "data":
            fields["data"] = json.loads(value)
        elif name in ("id", "event"):
            fields[name] = value
        elif not line and "data" in fields:
            return fields
    msg = "the stream has ended"
    raise AssertionError(msg)


def next_id(lines: Iterator[str]) -> str:
    """Return the next id that a stream gives its client to resume after."""
    return next(line for line in lines if line.startswith("id: ")).removeprefix("id: ")


def test_a_stream_sends_what_happens_from_now_on(tenant: Tenant) -> None:
    tenant.add_integration("42")
    arrive(tenant, "before")
    with tenant.http.stream("GET", PATH) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next(lines) == "retry: 1000"
        assert next_id(lines)
        arrive(tenant, "during")
        event = next_event(lines)
    assert event["event"] == event["data"]["type"] == "message.received"
    assert event["id"] == event["data"]["id"]
    assert event["data"]["data"]["text"] == "during"


def test_a_stream_resumes_without_gap_or_double(tenant: Tenant) -> None:
    """By the header that browsers send, and by the parameter."""
    tenant.add_integration("42")
    for n in range(5):
        arrive(tenant, f"text {n}")
    with tenant.http.stream("GET", PATH, params={"after": "evt_0"}) as stream:
        lines = stream.iter_lines()
        seen = [next_event(lines) for _ in range(4)]  # the number's state, then three texts
    header = {"Last-Event-ID": seen[-1]["id"]}
    with tenant.http.stream("GET", PATH, headers=header, params={"after": "evt_0"}) as stream:
        lines = stream.iter_lines()
        seen += [next_event(lines) for _ in range(2)]
        arrive(tenant, "text 5")
        seen.append(next_event(lines))
    texts = [each["data"]["data"].get("text") for each in seen]
    assert texts == [None, *(f"text {n}" for n in range(6))]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"type": "number.*"}, ["number.connected", "number.connected"]),
        ({"type": ["number.connected", "message.received"], "phone": "+79990003344"}, ["to 2"]),
        ({"type": "message.*"}, ["to 1", "to 2"]),
    ],
    ids=str,
)
def test_a_stream_is_filtered(tenant: Tenant, query: dict[str, Any], expected: list[str]) -> None:
    tenant.add_integration("42")
    arrive(tenant, "to 1")
    tenant.add_integration("43")
    arrive(tenant, "to 2", "43", "79990003344")
    with tenant.http.stream("GET", PATH, params={"after": "evt_0", **query}) as stream:
        lines = stream.iter_lines()
        found = [next_event(lines)["data"] for _ in expected]
    assert [each["data"].get("text", each["type"]) for each in found] == expected


def test_a_client_resumes_after_what_it_did_not_want(tenant: Tenant) -> None:
    """Also before its first event: an id without data moves its position."""
    tenant.add_integration("42")
    query = {"type": "message.edited"}
    with tenant.http.stream("GET", PATH, params=query) as stream:
        lines = stream.iter_lines()
        begin = next_id(lines)
        arrive(tenant, "unwanted")
        assert int(next_id(lines).removeprefix("evt_")) > int(begin.removeprefix("evt_"))


def test_a_stream_of_one_number_has_only_its_events(tenant: Tenant) -> None:
    tenant.add_integration("42")
    path = tenant.add_integration("43")
    arrive(tenant, "first", "42")
    arrive(tenant, "second", "43")
    query = {"after": "evt_0", "integration_id": path.rsplit("/", 1)[-1]}
    with tenant.http.stream("GET", PATH, params=query) as stream:
        lines = stream.iter_lines()
        found = [next_event(lines)["data"] for _ in range(2)]
    assert [each["type"] for each in found] == ["number.connected", "message.received"]
    assert found[1]["data"]["text"] == "second"


def test_a_client_that_was_away_too_long_is_told(tenant: Tenant, database_url: str) -> None:
    """An event `reset`, then the oldest event that is left."""
    tenant.add_integration("42")
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute("update wpp.events set recorded_at = now() - interval '8 days'")
        db.execute("select wpp_prune_events(now() - interval '7 days', 10)")
    arrive(tenant, "left")
    with tenant.http.stream("GET", PATH, params={"after": "evt_0"}) as stream:
        lines = stream.iter_lines()
        first, second = next_event(lines), next_event(lines)
    assert (first["event"], first["data"]) == ("reset", {"after": "evt_0"})
    assert "id" not in first
    assert second["data"]["data"]["text"] == "left"


def test_a_position_of_another_server_is_reset(tenant: Tenant) -> None:
    """A client that waits beyond the last event would wait for years."""
    tenant.add_integration("42")
    with tenant.http.stream("GET", PATH, params={"after": "evt_999999999"}) as stream:
        lines = stream.iter_lines()
        assert next_event(lines)["event"] == "reset"
        arrive(tenant, "next")
        assert next_event(lines)["data"]["data"]["text"] == "next"


def test_organizations_never_see_each_other_s_events(
    tenant: Tenant,
    ingress_with_supabase: IngressProcess,
    supabase_world: Supabase,
    redis_client: redis.Redis,
) -> None:
    with Tenant.new(ingress_with_supabase, supabase_world, redis_client) as other:
        tenant.add_integration("42")
        other.add_integration("43")
        with (
            tenant.http.stream("GET", PATH, params={"after": "evt_0"}) as mine,
            other.http.stream("GET", PATH, params={"after": "evt_0"}) as theirs,
        ):
            mine_lines, their_lines = mine.iter_lines(), theirs.iter_lines()
            next_event(mine_lines)
            next_event(their_lines)
            for n in range(3):
                arrive(tenant, f"mine {n}", "42")
                arrive(other, f"theirs {n}", "43")
            for lines, name in ((mine_lines, "mine"), (their_lines, "theirs")):
                texts = [next_event(lines)["data"]["data"]["text"] for _ in range(3)]
                assert texts == [f"{name} {n}" for n in range(3)]


@pytest.mark.parametrize(
    "query",
    [{"after": "1"}, {"after": "evt_x"}, {"type": "message.*.x"}, {"phone": "x"}, {"since": "1"}],
    ids=str,
)
def test_a_wrong_parameter_is_refused(tenant: Tenant, query: dict[str, str]) -> None:
    answer = tenant.http.get(PATH, params=query)
    assert answer.status_code == 422
    assert next(iter(query)) in answer.json()["detail"]

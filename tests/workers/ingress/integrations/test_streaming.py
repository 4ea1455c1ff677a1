"""The stream of integrations, and held responses."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import redis

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from shared.outbox import Outbox
from shared.redis import keys
from shared.settings import IngressSettings
from tests.fixtures.ingress_process import IngressProcess
from tests.fixtures.waiting import wait_until
from tests.workers.ingress.members import Member
from tests.workers.ingress.tenants import Tenant
from workers.ingress.deps import MAX_PREFER_WAIT_S, parse_prefer_wait
from workers.ingress.integrations.streaming import STREAM_POLL_S

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
    Outbox(client).publish_changes([change])


def test_the_stream_sends_the_list_and_then_changes(tenant: Tenant) -> None:
    """The list is that of GET; a recorded change is sent at once."""
    tenant.add_integration("42", "starting")
    with tenant.http.stream("GET", "/v1/integrations/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.headers["Cache-Control"] == "no-cache, no-store"
        lines = stream.iter_lines()
        assert next(lines) == RETRY
        assert next_list(lines) == tenant.http.get("/v1/integrations").json()
        tenant.set_status("42", "connected")
        began = time.monotonic()
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
        headers = {"Prefer": "wait=30"}
        answers.append(tenant.http.post(f"{path}/reconnect", headers=headers, timeout=60))

    asking, began = threading.Thread(target=ask), time.monotonic()
    asking.start()
    channel = keys.changes(tenant.id).encode()
    wait_until(
        lambda: tenant.count_waiting("provision") and channel in tenant.client.pubsub_channels(),
        "the held response to wait for changes",
    )
    tenant.set_status("42", "qr_issued", qr="2@code")
    announce_change(tenant.client, tenant.id)
    asking.join(20)
    (answer,) = answers
    assert time.monotonic() - began < 15
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "wait=30")
    assert (answer.json()["status"], answer.json()["qrcode"]) == ("qr_issued", "2@code")


def test_a_held_response_ends_with_its_time(tenant: Tenant) -> None:
    """It has the current state."""
    path = tenant.add_integration("42", "disconnected")
    tenant.http.get(path)  # looks its key up, for up to a second
    began = time.monotonic()
    answer = tenant.http.post(f"{path}/reconnect", headers={"Prefer": "wait=1"})
    assert 1 <= time.monotonic() - began < 4
    assert (answer.status_code, answer.json()["status"]) == (202, "starting")


# Sessions


@pytest.fixture(scope="module")
def attentive_ingress(
    redis_server: RedisServer, supabase_world: Supabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[IngressProcess]:
    """Return an ingress that looks at a session again after a second."""
    settings = {
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
        "WPP_SESSION_CHECK_S": "1",
    }
    with IngressProcess(
        redis_server.url, tmp_path_factory.mktemp("attentive"), **settings
    ) as ingress:
        yield ingress


@pytest.fixture
def member(supabase_world: Supabase, database_url: str) -> Member:
    return Member.new(supabase_world, database_url)


@pytest.mark.parametrize("end", ["sign_out", "delete", "leave", "move", "expire"])
def test_a_stream_ends_with_its_session(
    attentive_ingress: IngressProcess, member: Member, end: str
) -> None:
    """Within a minute by the settings that are allowed; here the session is looked at sooner."""
    expires = end == "expire"
    token = member.make_short_token(8) if expires else member.session["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    with attentive_ingress.http.stream("GET", "/v1/integrations/events", headers=bearer) as stream:
        assert stream.status_code == 200, stream.read()
        lines = stream.iter_lines()
        next_list(lines)
        if not expires:
            getattr(member, end)()
        for _ in lines:  # until the server ends the stream
            pass
    left = {"Authorization": bearer["Authorization"], "Wpp-Organization": member.organization_id}
    assert attentive_ingress.http.get("/v1/integrations", headers=left).status_code == (
        403 if end == "move" else 401
    )


def test_a_stream_ends_with_its_key(
    attentive_ingress: IngressProcess,
    supabase_world: Supabase,
    redis_client: redis.Redis,
    database_url: str,
) -> None:
    """A revoked service key is refused as a session that has ended is."""
    del database_url  # asked for because it empties the tables
    with Tenant.new(attentive_ingress, supabase_world, redis_client) as tenant:
        with tenant.http.stream("GET", "/v1/integrations/events") as stream:
            lines = stream.iter_lines()
            next_list(lines)
            (key,) = tenant.database.service_keys.list_all()
            tenant.database.service_keys.revoke(key.id)
            for _ in lines:  # until the server ends the stream
                pass
        assert tenant.http.get("/v1/integrations").status_code == 401


def test_a_session_is_looked_at_again_every_45_s() -> None:
    """The longest time that a session is trusted, and the longest pause of a stream."""
    longest = IngressSettings.model_fields["wpp_session_check_s"].metadata
    (limit_s,) = [each.le for each in longest if hasattr(each, "le")]
    assert limit_s + STREAM_POLL_S <= 45


# Bounds


def test_the_streams_of_an_organization_are_bounded(
    ingress_with_supabase: IngressProcess,
    supabase_world: Supabase,
    redis_client: redis.Redis,
    tenant: Tenant,
) -> None:
    """Of 500 streams, 400 are refused; another organization is served, and has streams too."""
    path = "/v1/integrations/events"
    limit = IngressSettings().wpp_stream_limit_per_organization
    request = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {tenant.http.headers['Authorization']}\r\n\r\n"
    )
    with ExitStack() as stack:
        streams = [stack.enter_context(ingress_with_supabase.connect()) for _ in range(500)]
        for stream in streams:
            stream.sendall(request.encode())
        heads = [read_head(stream) for stream in streams]
        statuses = Counter(head.split(b" ", 2)[1] for head in heads)
        assert statuses == {b"200": limit, b"429": 500 - limit}
        refused = tenant.http.get(path)
        assert refused.status_code == 429
        assert refused.json()["code"] == "too_many_streams"
        assert int(refused.headers["Retry-After"]) > 0
        number = tenant.add_integration("42", "disconnected")
        held = tenant.http.post(f"{number}/reconnect", headers={"Prefer": "wait=30"})
        assert (held.status_code, "Preference-Applied" in held.headers) == (202, False)
        other = stack.enter_context(Tenant.new(ingress_with_supabase, supabase_world, redis_client))
        number = other.add_integration("43")
        assert other.http.patch(number, json={"name": "Other"}).status_code == 200
        assert [each["name"] for each in other.http.get("/v1/integrations").json()] == ["Other"]
        with other.http.stream("GET", path) as another:
            assert another.status_code == 200
    wait_until(lambda: _can_stream(tenant), "closed streams to make room")


def _can_stream(tenant: Tenant) -> bool:
    with tenant.http.stream("GET", "/v1/integrations/events") as stream:
        return stream.status_code == 200


def read_head(connection: socket.socket) -> bytes:
    """Return what a connection has received up to the end of the first head."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65_536)
        assert chunk, "the server has closed the connection"
        received += chunk
    return received

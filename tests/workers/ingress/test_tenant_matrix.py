"""Who may what, for every operation of the OpenAPI document and every id in it.

A new route is held by these tests as soon as it is in the document.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import psycopg
import pytest
import redis

from sandbox.supabase.project import Supabase
from shared.service_keys import ACTIONS
from tests.fixtures.api_document import DocumentedOperation, list_operations
from tests.fixtures.ingress_process import IngressProcess, read_response, restore_secret
from tests.fixtures.service_keys import store_key
from tests.fixtures.waiting import wait_until
from tests.workers.ingress.members import Member
from tests.workers.ingress.owned import TEXT, Owner, fill_path, list_body_ids, list_query_ids
from tests.workers.ingress.tenants import Tenant
from tests.workers.ingress.test_audit import read_audit

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(100)

EACH_OPERATION = pytest.mark.parametrize(
    "operation", list_operations(), ids=lambda operation: operation.id
)
EACH_WRITE = pytest.mark.parametrize(
    "operation",
    [each for each in list_operations() if each.is_write],
    ids=lambda operation: operation.id,
)
EACH_ID = pytest.mark.parametrize(
    ("operation", "place", "name"),
    [
        (operation, place, name)
        for operation in list_operations()
        for place, names in (
            ("path", operation.path_ids),
            ("query", list_query_ids(operation)),
            ("body", list_body_ids(operation)),
        )
        for name in names
    ],
    ids=lambda value: value.id if isinstance(value, DocumentedOperation) else value,
)
STATES: dict[str, Literal["waiting", "unknown"]] = {
    "cancel_message": "waiting",
    "resolve_message": "unknown",
}
"""The state in which a message has to be for an operation; else it was sent."""


@dataclass(frozen=True)
class World:
    """Two organizations. `keys` are credentials of the first: a service key and a session."""

    ingress: IngressProcess
    ours: Owner
    theirs: Owner
    credentials: dict[str, str]
    limited: Callable[..., str]

    def ask(
        self, operation: DocumentedOperation, path: str, credentials: str, **more: Any
    ) -> httpx.Response:
        """Send the example of an operation; of a stream only the head is read."""
        headers = {"Authorization": f"Bearer {credentials}", "Prefer": "wait=1"}
        body = more.pop("body", operation.body_example)
        if operation.takes_file:
            headers["Content-Type"] = "application/octet-stream"
            more["content"] = PICTURE
        request = self.ingress.http.build_request(
            operation.method,
            path,
            headers=headers | more.pop("headers", {}),
            json=body,
            timeout=20,
            **more,
        )
        answer = self.ingress.http.send(request, stream=True)
        if answer.headers["Content-Type"].startswith("text/event-stream"):
            first = next(answer.iter_text(), "")
            answer.close()
            assert TEXT not in first
        else:
            answer.read()
        return answer


@pytest.fixture(scope="module")
def world(
    _ingress_with_supabase: IngressProcess,
    _empty_tables: Callable[[], None],
    supabase_world: Supabase,
) -> Iterator[World]:
    """Return two organizations, made once: no test here changes the second."""
    _empty_tables()
    url, ingress = supabase_world.database_url, _ingress_with_supabase
    with (
        redis.Redis.from_url(ingress.redis_url) as client,
        Tenant.new(ingress, supabase_world, client) as ours,
        Tenant.new(ingress, supabase_world, client) as theirs,
    ):
        client.flushall()
        restore_secret(client)
        member = Member.new(supabase_world, url)
        with psycopg.connect(url) as connection:
            connection.execute(
                "update public.profiles set organization_id = %s where id = %s",
                (ours.id, member.id),
            )
        yield World(
            ingress,
            Owner.new(ours, url),
            Owner.new(theirs, url),
            {"key": store_key(url, ours.id), "session": member.session["access_token"]},
            lambda *actions: store_key(url, ours.id, actions=actions),
        )


def find_items(answer: httpx.Response) -> list[Any]:
    """Return what a list holds; the answer to an unknown id holds nothing."""
    found = answer.json() if answer.status_code == 200 else []
    return list(found["items"] if isinstance(found, dict) else found)


@contextmanager
def unchanged(owner: Owner) -> Iterator[None]:
    """Hold that nothing of an organization changes meanwhile, and no event is made."""
    before = owner.look()
    yield
    assert owner.look() == before


@EACH_ID
@pytest.mark.parametrize("credentials", ["key", "session"])
def test_an_id_of_another_organization_is_not_found(
    world: World, operation: DocumentedOperation, place: str, name: str, credentials: str
) -> None:
    """It is as unknown as any, and nothing changes; a phone names no organization."""
    used = place == "query" and name == "integration_id"
    theirs = world.theirs.integration_id if used else world.theirs.make(name)
    path, more = fill_path(operation, world.ours), {}
    if place == "path":
        path = fill_path(operation, world.theirs)
    elif place == "query":
        more["params"] = {name: theirs}
    else:
        more["body"] = {**operation.body_example, name: theirs}
    with unchanged(world.theirs):
        answer = world.ask(operation, path, world.credentials[credentials], **more)
    if name == "phone":
        assert answer.status_code < 500
        assert TEXT not in answer.text
    elif place == "query":  # a filter: what it finds is empty
        assert answer.status_code in {200, 404}
        assert operation.is_stream or find_items(answer) == []
    else:
        assert answer.status_code in {403, 404}, answer.text


@EACH_OPERATION
def test_a_key_is_refused_for_another_organization(
    world: World, operation: DocumentedOperation
) -> None:
    """Named in the header; a session too."""
    other = {"Wpp-Organization": str(world.theirs.tenant.id)}
    path = fill_path(operation, world.theirs)
    with unchanged(world.theirs):
        for token in world.credentials.values():
            answer = world.ask(operation, path, token, headers=other)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@EACH_OPERATION
def test_nothing_is_read_without_credentials(world: World, operation: DocumentedOperation) -> None:
    """The answer comes although only the head of the request was sent."""
    path = fill_path(operation, world.theirs)
    with unchanged(world.theirs), world.ingress.connect() as connection:
        connection.settimeout(5)
        for authorization in ("", "Authorization: Bearer x\r\n"):
            head = f"{operation.method} {path} HTTP/1.1\r\nHost: x\r\n{authorization}"
            connection.sendall(f"{head}Content-Length: 9\r\n\r\n".encode())
            assert read_response(connection).startswith(b"HTTP/1.1 401 ")
            connection.sendall(b"123456789")


@EACH_OPERATION
def test_a_key_allows_its_actions_only(world: World, operation: DocumentedOperation) -> None:
    """A key for all actions but this is refused; so is a reader's key for each write."""
    path = fill_path(operation, world.ours)
    others = [each for each in ACTIONS if each != operation.action]
    keys = [world.limited(*others)]
    if operation.is_write:
        keys.append(world.limited(*(each for each in ACTIONS if each.endswith(":read"))))
    with unchanged(world.ours):
        for key in keys:
            answer = world.ask(operation, path, key)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@EACH_WRITE
def test_each_effect_is_recorded(world: World, operation: DocumentedOperation) -> None:
    """The example of an operation is accepted, and leaves a line about who did what."""
    path = fill_path(operation, world.ours)
    if operation.id in STATES:
        path = operation.path.replace("{message_id}", world.ours.add_message(STATES[operation.id]))
    before = len(read_audit(world.ingress, world.ours.tenant))
    answer = world.ask(operation, path, world.credentials["key"])
    assert answer.status_code < 300, answer.text

    def find_line() -> dict[str, Any] | None:
        lines = read_audit(world.ingress, world.ours.tenant)[before:]
        return next((line for line in lines if line["operation"] == operation.id), None)

    line = wait_until(find_line, "a line")
    assert line["caller"].startswith("key ")
    assert line["status"] == answer.status_code
    assert TEXT not in str(line)

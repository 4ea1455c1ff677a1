"""What a request to the API has to pass: credentials first, then the limits of its body."""

import asyncio
import json
import threading
import time
from functools import cache
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
import redis
from fastapi import FastAPI
from starlette.types import Message

from tests.fixtures.api_document import list_operations
from tests.fixtures.ingress_process import IngressProcess, read_response
from tests.fixtures.service_keys import copy_key
from tests.workers.ingress.tenants import Tenant
from workers.ingress.access import ApiAccess
from workers.ingress.app import create_api
from workers.ingress.console.access import ConsoleAccess
from workers.ingress.console.routes import ROUTERS

LIMIT = 256 * 1024
MEGABYTE = 1 << 20
JSON = {"Content-Type": "application/json"}
HELLO = {"to": "+79990001122", "text": "Hello"}


BODIES = sorted({(each.method, each.path) for each in list_operations() if each.is_write})
"""Each method and path of the API that may come with a body."""


@pytest.fixture
def bearer(redis_client: redis.Redis) -> str:
    """Return the Authorization header of an organization."""
    return f"Bearer {copy_key(redis_client, uuid4())}"


def test_credentials_are_checked_before_the_body(
    ingress_with_supabase: IngressProcess, tenant: Tenant
) -> None:
    """20 MB of nested JSON get 401 at once; another organization is not delayed."""
    path = tenant.add_integration("42")
    tenant.http.get(path)  # looks its key up, for up to a second
    body = b'{"a":[' + b"[]," * (20 * MEGABYTE // 3) + b"[]]}"
    process = psutil.Process(ingress_with_supabase.pid)
    before_rss, before_cpu_s = process.memory_info().rss, sum(process.cpu_times()[:2])
    statuses: list[int] = []

    def post() -> None:
        with httpx.Client(base_url=ingress_with_supabase.url, trust_env=False, timeout=30) as http:
            answer = http.post("/v1/messages", content=body, headers=JSON)
        statuses.append(answer.status_code)

    posting = [threading.Thread(target=post) for _ in range(3)]
    for thread in posting:
        thread.start()
    waits: list[float] = []
    while any(thread.is_alive() for thread in posting) or len(waits) < 5:
        began = time.monotonic()
        assert tenant.http.get(path).status_code == 200
        waits.append(time.monotonic() - began)
    assert statuses == [401] * 3
    assert max(waits) < 1
    assert process.memory_info().rss - before_rss < 30 * MEGABYTE
    assert sum(process.cpu_times()[:2]) - before_cpu_s < 1 + 0.05 * len(waits)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/messages"),
        ("POST", "/v1/integrations"),
        ("PATCH", "/v1/integrations/00000000-0000-4000-8000-000000000001"),
        ("POST", "/v1/messages/00000000-0000-4000-8000-000000000001/resolution"),
    ],
)
def test_no_body_is_awaited_without_credentials(
    ingress: IngressProcess, method: str, path: str
) -> None:
    """The answer comes although only the head was sent."""
    with ingress.connect() as connection:
        connection.settimeout(5)
        for authorization in ("", "Authorization: Bearer x\r\n"):
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{authorization}"
            connection.sendall(f"{head}Content-Length: 9\r\n\r\n".encode())
            assert read_response(connection).startswith(b"HTTP/1.1 401 ")
            connection.sendall(b"123456789")


@cache
def make_app() -> FastAPI:
    """Return the app with the routes of the API and the console, and with their middleware."""
    app = create_api()
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(ConsoleAccess)
    app.add_middleware(ApiAccess)
    return app


def ask_unread(method: str, path: str) -> tuple[int, dict[str, Any], int, list[str]]:
    """Send a request without credentials and with a long body.

    Return the status, the body of the answer, how often the request was read, and which quotas
    were taken.
    """
    app = make_app()
    taken: list[str] = []
    limits = SimpleNamespace(take=lambda quota, _subject: taken.append(quota))
    app.state.ingress = SimpleNamespace(request_limits=limits)
    reads = 0
    sent: list[Message] = []

    async def receive() -> Message:
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": b" " * 1024, "more_body": reads < 100}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")],
        "client": ("203.0.113.9", 1),
        "app": app,
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"]), reads, taken


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize("ending", ["\n", "/", "\r\n", "/x\n"], ids=repr)
def test_no_body_of_an_unknown_path_is_read(method: str, path: str, ending: str) -> None:
    """The router's patterns end in `$`, which matches before a final line feed (`%0A`) as well."""
    status, problem, reads, taken = ask_unread(method, f"{path}{ending}")
    assert (status, problem["code"], reads, taken) == (404, "not_found", 0, ["address"])


@pytest.mark.parametrize("path", ["/console\n", "/console/session\n", "/console/data/keys\n"])
def test_no_body_of_an_unknown_path_of_the_console_is_read(path: str) -> None:
    """Its access goes by the path, too."""
    assert ask_unread("POST", path)[0::2] == (404, 0)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PROPFIND"])
@pytest.mark.parametrize("path", ["/v1/", "/v1/unknown", "/v1/messages\n", "/v1/messages/"])
def test_an_unknown_path_is_the_same_problem_by_every_method(method: str, path: str) -> None:
    """Without a look at credentials or the body."""
    status, problem, reads, taken = ask_unread(method, path)
    assert (status, reads, taken) == (404, 0, ["address"])
    assert problem == {
        "type": "/docs/reference/errors.html#not-found",
        "title": "Not Found",
        "status": 404,
        "code": "not_found",
        "detail": "Not Found",
    }


def test_no_body_of_a_line_feed_after_a_path_is_awaited(ingress: IngressProcess) -> None:
    """The answer comes although only the head was sent."""
    with ingress.connect() as connection:
        connection.settimeout(5)
        head = "POST /v1/messages%0A HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 314572800\r\n\r\n".encode())
        assert read_response(connection).startswith(b"HTTP/1.1 404 ")


def test_a_body_of_the_api_is_limited(ingress: IngressProcess, bearer: str) -> None:
    """Whether its length is announced or not."""
    headers = {"Authorization": bearer, **JSON}
    for size, status in ((LIMIT, 422), (LIMIT + 1, 413)):
        body = b"[]".ljust(size)
        announced = ingress.http.post("/v1/messages", content=body, headers=headers)
        chunked = ingress.http.post("/v1/messages", content=iter([body]), headers=headers)
        assert (announced.status_code, chunked.status_code) == (status, status)
    assert announced.json()["code"] == "too_large"


def test_a_stalled_body_of_the_api_is_408(impatient_ingress: IngressProcess, bearer: str) -> None:
    """The deadlines are those of webhooks."""
    with impatient_ingress.connect() as connection:
        head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer}\r\n"
        head += "Content-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        began = time.monotonic()
        assert read_response(connection).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 5


def test_a_hostile_body_with_credentials_costs_little(ingress: IngressProcess, bearer: str) -> None:
    """The largest body of empty lists is refused with less than 0.5 s of CPU."""
    body = b'{"a":[' + b"[]," * (LIMIT // 3 - 10) + b"[]]}"
    process = psutil.Process(ingress.pid)
    before_s = sum(process.cpu_times()[:2])
    headers = {"Authorization": bearer, **JSON}
    assert ingress.http.post("/v1/messages", content=body, headers=headers).status_code == 422
    assert sum(process.cpu_times()[:2]) - before_s < 0.5


def test_no_answer_of_the_api_is_cached(
    ingress_with_supabase: IngressProcess, tenant: Tenant
) -> None:
    """It may hold a QR code or a message."""
    path = tenant.add_integration("42", "qr_issued")
    answers = [
        tenant.http.get("/v1/integrations"),
        tenant.http.get(path),
        tenant.post("/v1/integrations", {}),
        tenant.post("/v1/messages", HELLO),
        tenant.http.get("/v1/unknown"),
        ingress_with_supabase.http.get("/v1/integrations"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 202, 202, 404, 401]
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}


@pytest.mark.parametrize("path", ["/v1/integrations/", "/v1/messages/", "/connect/", "//v1"])
def test_nothing_redirects_to_the_host_of_a_request(ingress: IngressProcess, path: str) -> None:
    """The Host header is the caller's choice."""
    answer = ingress.http.get(path, headers={"Host": "evil.example"})
    target = answer.headers.get("Location", "")
    assert answer.status_code in {404, 307}
    assert not target.startswith(("http", "/")), "it is relative: `//v1` is the path `/`"

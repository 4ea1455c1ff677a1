"""What a request to the API has to pass: credentials first, then the limits of its body."""

import threading
import time
from uuid import uuid4

import httpx
import psutil
import pytest
import redis

from tests.fixtures.ingress_process import IngressProcess, read_response
from tests.fixtures.service_keys import copy_key
from tests.workers.ingress.tenants import Tenant

LIMIT = 256 * 1024
MEGABYTE = 1 << 20
JSON = {"Content-Type": "application/json"}
HELLO = {"to": "+79990001122", "text": "Hello"}


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

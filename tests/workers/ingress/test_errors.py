"""Every error is a problem (RFC 9457)."""

import json
from collections.abc import Iterator

import httpx
import jwt
import pytest
import redis

from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.tenants import Tenant
from workers.ingress.errors import to_response

TRANSIENT = [
    redis.ConnectionError("away"),
    redis.BusyLoadingError("Redis is loading the dataset in memory"),
    redis.ReadOnlyError("You can't write against a read only replica."),
    redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    redis.ResponseError(
        "MISCONF Redis is configured to save RDB snapshots, but it is unable to persist to disk."
    ),
    redis.ResponseError(
        "Command # 1 (SET a 1) of pipeline caused error: ('NOREPLICAS Not enough good replicas.',)"
    ),
]
HELLO = {"to": "+79990001122", "text": "Hello"}


def read_problem(answer: httpx.Response) -> tuple[int, str]:
    """Return status and code of a response that has the shape of a problem."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    said = answer.json()
    assert {"type", "title", "status", "code", "detail"} <= set(said)
    assert said["status"] == answer.status_code
    return answer.status_code, str(said["code"])


@pytest.fixture
def cannot_write(redis_client: redis.Redis) -> Iterator[None]:
    """Make Redis refuse writes, as after a failover."""
    redis_client.config_set("min-replicas-to-write", 1)
    yield
    redis_client.config_set("min-replicas-to-write", 0)


@pytest.fixture
def full(redis_client: redis.Redis) -> Iterator[None]:
    """Make Redis run out of memory."""
    redis_client.config_set("maxmemory", 1)
    yield
    redis_client.config_set("maxmemory", 0)


@pytest.mark.parametrize("failure", ["cannot_write", "full"])
def test_a_redis_that_refuses_writes_is_503(
    tenant: Tenant, failure: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """With Retry-After, for messages and integrations alike."""
    integration = tenant.add_integration("42", "disconnected")
    tenant.post("/v1/messages", HELLO)
    request.getfixturevalue(failure)
    for path, body in (
        ("/v1/messages", HELLO),
        ("/v1/integrations", {"add_new": True}),
        (f"{integration}/reconnect", None),
    ):
        answer = tenant.post(path, body, key=path)
        status, code = read_problem(answer)
        assert (status, code in {"queue_unavailable", "overloaded"}) == (503, True), answer.text
        assert int(answer.headers["Retry-After"]) > 0
    assert not caplog.records
    assert tenant.http.get(integration).status_code == 200


@pytest.mark.parametrize("error", TRANSIENT)
def test_transient_redis_errors_are_503(error: Exception) -> None:
    """With Retry-After."""
    answer = to_response(error)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


def test_other_redis_errors_are_500() -> None:
    """A retry would not help."""
    assert to_response(redis.ResponseError("WRONGTYPE Operation against a key")).status_code == 500


def test_routing_and_access_errors_are_problems(ingress: IngressProcess) -> None:
    """Unknown path, wrong method, missing credentials."""
    assert read_problem(ingress.http.get("/v1/nothing")) == (404, "not_found")
    assert read_problem(ingress.http.put("/v1/messages")) == (405, "method_not_allowed")
    other = ingress.http.post("/v1/messages", json=HELLO)
    assert read_problem(other) == (401, "access_denied")
    assert other.headers["WWW-Authenticate"] == "Bearer"


def test_an_outage_of_supabase_is_503(ingress: IngressProcess) -> None:
    """Nothing was accepted."""
    a_session = jwt.encode({"sub": "x", "exp": 9_999_999_999}, "k" * 32, algorithm="HS256")
    answer = ingress.http.get("/v1/integrations", headers={"Authorization": f"Bearer {a_session}"})
    assert read_problem(answer) == (503, "database_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "body", [b"{secret", b"secret", b"\xff\xfe", b"[" * 100_000, b"9" * 10_000], ids=range(5)
)
def test_a_body_that_is_not_json_is_400(tenant: Tenant, body: bytes) -> None:
    """The problem quotes nothing of it."""
    answer = tenant.http.post(
        "/v1/messages", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert read_problem(answer)[1] in {"malformed", "bad_request"}
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
        ("application/json", 202),
        ("Application/JSON; charset=utf-8", 202),
        ("application/merge-patch+json", 202),
    ],
)
def test_a_body_has_to_be_declared_as_json(
    tenant: Tenant, content_type: str | None, status: int
) -> None:
    """415 says what to send."""
    tenant.add_integration("42")
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = tenant.http.post("/v1/messages", content=json.dumps(HELLO), headers=headers)
    assert answer.status_code == status
    if status == 415:
        assert read_problem(answer)[1] == "unsupported_media_type"
        assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_an_unknown_query_parameter_is_named(tenant: Tenant, method: str) -> None:
    """It would have no effect, and the caller believes that it has one."""
    path = tenant.add_integration("42") if method in {"PATCH", "DELETE"} else "/v1/integrations"
    answer = tenant.http.request(method, f"{path}?limt=3&x=", json={})
    assert read_problem(answer) == (422, "invalid")
    assert [each["field"] for each in answer.json()["errors"]] == ["limt", "x"]


def test_a_known_query_parameter_is_taken(tenant: Tenant) -> None:
    """The problem about another one lists it."""
    path = f"{tenant.add_integration('42')}/history"
    assert len(tenant.http.get(f"{path}?limit=1").json()) == 1
    assert "limit" in tenant.http.get(f"{path}?limits=1").json()["detail"]


def test_allow_lists_every_method_of_a_path(tenant: Tenant) -> None:
    """Methods of one path are routes of their own."""
    path = tenant.add_integration("42")
    for method, target, allow in [
        ("PUT", "/v1/integrations", "GET, HEAD, OPTIONS, POST"),
        ("POST", path, "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("GET", "/v1/messages/batch", "OPTIONS, POST"),
        ("HEAD", "/v1/messages/batch", "OPTIONS, POST"),
        ("HEAD", "/v1/integrations/events", "GET, OPTIONS"),
    ]:
        answer = tenant.http.request(method, target)
        assert (answer.status_code, answer.headers["Allow"]) == (405, allow), (method, target)
    answer = tenant.http.options("/v1/integrations")
    assert (answer.status_code, answer.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")


def test_head_is_get_without_its_body(tenant: Tenant) -> None:
    """Status and headers are those of GET, credentials included."""
    path = tenant.add_integration("42")
    for target, status in ((path, 200), ("/v1/integrations", 200), (f"{path}/qr.png", 404)):
        head, get = tenant.http.head(target), tenant.http.get(target)
        assert (head.status_code, get.status_code) == (status, status)
        assert head.headers["Content-Length"] == get.headers["Content-Length"]
        assert not head.content
    assert (
        httpx.head(tenant.http.base_url.join("/v1/integrations"), trust_env=False).status_code
        == 401
    )

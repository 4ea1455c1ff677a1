"""Every error has one shape (RFC 9457), and says what to do."""

from collections.abc import Iterator

import httpx
import jwt
import pytest
import redis

from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.tenants import Tenant
from workers.ingress.errors import to_response

UNABLE = [
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


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Return an error's status and code, if it is one in our shape."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    said = answer.json()
    assert {"type", "title", "status", "code", "detail"} <= set(said)
    assert said["status"] == answer.status_code
    return answer.status_code, str(said["code"])


@pytest.fixture
def cannot_write(redis_client: redis.Redis) -> Iterator[None]:
    """Let Redis answer, and refuse whatever would change something, as after a failover."""
    redis_client.config_set("min-replicas-to-write", 1)
    yield
    redis_client.config_set("min-replicas-to-write", 0)


@pytest.fixture
def full(redis_client: redis.Redis) -> Iterator[None]:
    """Let Redis have no memory left."""
    redis_client.config_set("maxmemory", 1)
    yield
    redis_client.config_set("maxmemory", 0)


@pytest.mark.parametrize("trouble", ["cannot_write", "full"])
def test_a_redis_that_takes_nothing_now_is_503(
    tenant: Tenant, trouble: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """With when to come back: for messages, numbers and what is done to them alike."""
    place = tenant.number("42", "disconnected")
    tenant.post("/v1/messages", HELLO)
    request.getfixturevalue(trouble)
    for path, body in (
        ("/v1/messages", HELLO),
        ("/v1/integrations", {"add_new": True}),
        (f"{place}/reconnect", None),
    ):
        answer = tenant.post(path, body, key=path)
        status, code = problem(answer)
        assert (status, code in {"queue_unavailable", "overloaded"}) == (503, True), answer.text
        assert int(answer.headers["Retry-After"]) > 0
    assert not caplog.records
    assert tenant.http.get(place).status_code == 200


@pytest.mark.parametrize("error", UNABLE)
def test_whatever_hinders_redis_is_503(error: Exception) -> None:
    """The caller is told to come back."""
    answer = to_response(error)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


def test_a_mistake_of_ours_is_500() -> None:
    """Coming back would not help."""
    assert to_response(redis.ResponseError("WRONGTYPE Operation against a key")).status_code == 500


def test_what_is_not_there_has_the_same_shape(ingress: IngressProcess) -> None:
    """A path, a method, a body that is none."""
    assert problem(ingress.http.get("/v1/nothing")) == (404, "not_found")
    assert problem(ingress.http.put("/v1/messages")) == (405, "method_not_allowed")
    stranger = ingress.http.post("/v1/messages", json=HELLO)
    assert problem(stranger) == (401, "access_denied")
    assert stranger.headers["WWW-Authenticate"] == "Bearer"


def test_a_supabase_that_is_away_is_503(ingress: IngressProcess) -> None:
    """For whoever needs it; nothing was accepted."""
    a_session = jwt.encode({"sub": "x", "exp": 9_999_999_999}, "k" * 32, algorithm="HS256")
    answer = ingress.http.get("/v1/integrations", headers={"Authorization": f"Bearer {a_session}"})
    assert problem(answer) == (503, "database_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_body_that_is_no_json_is_422(tenant: Tenant) -> None:
    """It names the body, and quotes nothing of it."""
    answer = tenant.http.post(
        "/v1/messages", content=b"{secret", headers={"Content-Type": "application/json"}
    )
    assert problem(answer) == (422, "invalid")
    assert "secret" not in answer.text

"""The application as a whole: CORS for the configured origins only, a complete OpenAPI document."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import httpx
import pytest
import redis

from sandbox.redis import RedisServer
from tests.fixtures.api_document import read_document
from tests.fixtures.ingress_process import IngressProcess
from tests.fixtures.service_keys import copy_key

CRM, OTHER_CRM, LOOKALIKE = (
    "https://crm.example.com",
    "http://localhost:3000",
    "https://crm.example.com.evil.example",
)
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,idempotency-key",
}


@pytest.fixture(scope="module")
def http(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Return a client of an ingress with two allowed origins."""
    with IngressProcess(
        redis_server.url, tmp_path_factory.mktemp("cors"), WPP_PAGE_PARENTS=f"{CRM} {OTHER_CRM}"
    ) as ingress:
        yield ingress.http


def allowed(answer: httpx.Response) -> str | None:
    found: str | None = answer.headers.get("Access-Control-Allow-Origin")
    return found


@pytest.mark.parametrize("origin", [CRM, OTHER_CRM])
@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/integrations", f"/v1/integrations/{UUID(int=1)}/primary"]
)
def test_an_allowed_origin_may_call_the_api(http: httpx.Client, origin: str, path: str) -> None:
    """With a bearer token and an idempotency key, without cookies."""
    answer = http.options(path, headers={"Origin": origin, **PREFLIGHT})
    assert (answer.status_code, allowed(answer)) == (200, origin)
    assert {"authorization", "idempotency-key", "prefer", "content-type"} <= {
        name.strip().lower() for name in answer.headers["Access-Control-Allow-Headers"].split(",")
    }
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_an_allowed_origin_reads_every_response(
    http: httpx.Client, redis_client: redis.Redis
) -> None:
    """Also errors, with their headers."""
    key = copy_key(redis_client, uuid4())
    for bearer, status in (("Bearer invalid", 401), (f"Bearer {key}", 503)):
        answer = http.get("/v1/integrations", headers={"Origin": CRM, "Authorization": bearer})
        assert (answer.status_code, allowed(answer)) == (status, CRM)
        assert {"Location", "Retry-After"} <= set(
            answer.headers["Access-Control-Expose-Headers"].split(", ")
        )
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize(
    "origin", [LOOKALIKE, "null", "https://crm.example.com:8443", "http://crm.example.com"]
)
def test_other_origins_are_refused(http: httpx.Client, origin: str) -> None:
    """The response has no CORS header."""
    assert allowed(http.options("/v1/messages", headers={"Origin": origin, **PREFLIGHT})) is None
    assert allowed(http.get("/v1/integrations", headers={"Origin": origin})) is None


@pytest.mark.parametrize(
    "path", ["/health", "/connect", "/connect/settings.json", "/openapi.json", "/webhooks/wpp/1/2"]
)
def test_cors_covers_the_api_only(http: httpx.Client, path: str) -> None:
    """Health, the page, OpenAPI and webhooks have no CORS header."""
    assert allowed(http.get(path, headers={"Origin": CRM})) is None


def test_no_origin_is_allowed_by_default(ingress: IngressProcess) -> None:
    """Without WPP_PAGE_PARENTS every origin is refused."""
    assert (
        allowed(ingress.http.options("/v1/messages", headers={"Origin": CRM, **PREFLIGHT})) is None
    )


def test_the_document_is_public(ingress: IngressProcess) -> None:
    """It names this server, and its public address."""
    document = ingress.http.get("/openapi.json").json()
    assert [each["url"] for each in document["servers"]] == ["/", ingress.url]
    assert document["paths"].keys() == read_document()["paths"].keys()

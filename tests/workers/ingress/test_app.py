"""The CRM's own pages call the API from their browser; nobody else's do."""

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from sandbox.redis import RedisServer
from shared import signed_keys
from tests.fixtures.ingress_process import KEY_SECRET, IngressProcess

CRM, OTHER_CRM, STRANGER = (
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
    """Return a client of a door that names two origins."""
    with IngressProcess(
        redis_server.url, tmp_path_factory.mktemp("cors"), WPP_PAGE_PARENTS=f"{CRM} {OTHER_CRM}"
    ) as ingress:
        yield ingress.http


def allowed(answer: httpx.Response) -> str | None:
    found: str | None = answer.headers.get("Access-Control-Allow-Origin")
    return found


@pytest.mark.parametrize("origin", [CRM, OTHER_CRM])
@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/integrations", f"/v1/integrations/{uuid4()}/primary"]
)
def test_a_page_of_a_named_origin_may_ask(http: httpx.Client, origin: str, path: str) -> None:
    """With its bearer and a key, and without cookies."""
    answer = http.options(path, headers={"Origin": origin, **PREFLIGHT})
    assert (answer.status_code, allowed(answer)) == (200, origin)
    assert {"authorization", "idempotency-key", "prefer", "content-type"} <= {
        name.strip().lower() for name in answer.headers["Access-Control-Allow-Headers"].split(",")
    }
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_it_reads_every_answer(http: httpx.Client) -> None:
    """Also that it is not signed in, and where to look and when to come again."""
    key = signed_keys.make_service_key(uuid4(), [KEY_SECRET.encode()])
    for bearer, status in (("Bearer nobody", 401), (f"Bearer {key}", 503)):
        answer = http.get("/v1/integrations", headers={"Origin": CRM, "Authorization": bearer})
        assert (answer.status_code, allowed(answer)) == (status, CRM)
        assert {"Location", "Retry-After"} <= set(
            answer.headers["Access-Control-Expose-Headers"].split(", ")
        )
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize(
    "origin", [STRANGER, "null", "https://crm.example.com:8443", "http://crm.example.com"]
)
def test_any_other_page_may_not(http: httpx.Client, origin: str) -> None:
    """Its browser is told nothing that would let it."""
    assert allowed(http.options("/v1/messages", headers={"Origin": origin, **PREFLIGHT})) is None
    assert allowed(http.get("/v1/integrations", headers={"Origin": origin})) is None


@pytest.mark.parametrize(
    "path", ["/health", "/connect", "/connect/settings.json", "/openapi.json", "/webhooks/wpp/1/2"]
)
def test_nothing_but_the_api_is_for_other_pages(http: httpx.Client, path: str) -> None:
    assert allowed(http.get(path, headers={"Origin": CRM})) is None


def test_without_origins_nobody_may(ingress: IngressProcess) -> None:
    assert (
        allowed(ingress.http.options("/v1/messages", headers={"Origin": CRM, **PREFLIGHT})) is None
    )

"""The transport reports results to the breaker, and sends nothing while the breaker is open."""

from collections.abc import Callable

import httpx
import pytest
import redis

from shared.errors import UnavailableError
from shared.platform.circuit_breaker import CircuitBreaker
from shared.platform.circuit_breaker_transport import CircuitBreakerTransport


@pytest.fixture
def breaker(redis_client: "redis.Redis") -> CircuitBreaker:
    return CircuitBreaker(redis_client, "http://platform.test")


def open_client(
    breaker: CircuitBreaker, answer: Callable[[httpx.Request], httpx.Response]
) -> httpx.Client:
    transport = CircuitBreakerTransport(httpx.MockTransport(answer), breaker)
    return httpx.Client(transport=transport, base_url="http://platform.test")


def call_account(client: httpx.Client) -> httpx.Response:
    """Make a call of an account."""
    return client.get("/", extensions={"account": "0000000000042"})


def test_refused_connects_open_the_breaker(breaker: CircuitBreaker) -> None:
    """After five of them the next call is not sent."""
    attempts: list[int] = []

    def refuse(_request: httpx.Request) -> httpx.Response:
        attempts.append(1)
        raise httpx.ConnectError("refused")  # noqa: EM101 - as httpx does

    with open_client(breaker, refuse) as client:
        for _ in range(5):
            with pytest.raises(httpx.ConnectError):
                client.get("/")
        with pytest.raises(UnavailableError):
            client.get("/")
    assert len(attempts) == 5


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429])
def test_any_answer_below_500_counts_as_a_success(breaker: CircuitBreaker, status: int) -> None:
    """A refusal or a rate limit shows a working platform."""
    with open_client(breaker, lambda _request: httpx.Response(status)) as client:
        for _ in range(30):
            assert call_account(client).status_code == status
    assert breaker.state("0000000000042").name == "closed"


@pytest.mark.parametrize("failure", [500, 504, httpx.ReadTimeout("")])
def test_failures_open_the_breaker(breaker: CircuitBreaker, failure: int | Exception) -> None:
    """Twenty answers of 500 or more, or twenty timeouts."""

    def fail(_request: httpx.Request) -> httpx.Response:
        if isinstance(failure, Exception):
            raise failure
        return httpx.Response(failure)

    with open_client(breaker, fail) as client:
        for _ in range(20):
            try:
                call_account(client)
            except httpx.ReadTimeout:
                continue
        with pytest.raises(UnavailableError):
            call_account(client)


@pytest.mark.parametrize(
    "failure", [httpx.PoolTimeout(""), httpx.LocalProtocolError(""), httpx.UnsupportedProtocol("")]
)
def test_local_failures_do_not_count(
    breaker: CircuitBreaker, failure: httpx.TransportError
) -> None:
    """A full pool, or a tenant's invalid request, does not open the breaker for all tenants."""

    def fail(_request: httpx.Request) -> httpx.Response:
        raise failure

    with open_client(breaker, fail) as client:
        for _ in range(30):
            with pytest.raises(type(failure)):
                call_account(client)
    assert breaker.state("0000000000042").name == "closed"

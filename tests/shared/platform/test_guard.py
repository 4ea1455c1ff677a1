"""The guard tells the breaker how requests went, and holds them back while it is open."""

from collections.abc import Callable

import httpx
import pytest
import redis

from shared.errors import UnavailableError
from shared.platform.circuit_breaker import CircuitBreaker
from shared.platform.guard import CircuitBreakerTransport


@pytest.fixture
def breaker(redis_client: "redis.Redis") -> CircuitBreaker:
    return CircuitBreaker(redis_client, "http://platform.test")


def guarded(
    breaker: CircuitBreaker, answer: Callable[[httpx.Request], httpx.Response]
) -> httpx.Client:
    transport = CircuitBreakerTransport(httpx.MockTransport(answer), breaker)
    return httpx.Client(transport=transport, base_url="http://platform.test")


def test_refused_connects_open_the_breaker(breaker: CircuitBreaker) -> None:
    """After five of them the next call does not even try."""
    tries: list[int] = []

    def refuse(_request: httpx.Request) -> httpx.Response:
        tries.append(1)
        raise httpx.ConnectError("refused")  # noqa: EM101 - as httpx does

    with guarded(breaker, refuse) as client:
        for _ in range(5):
            with pytest.raises(httpx.ConnectError):
                client.get("/")
        with pytest.raises(UnavailableError):
            client.get("/")
    assert len(tries) == 5


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429])
def test_any_answer_below_500_is_healthy(breaker: CircuitBreaker, status: int) -> None:
    """A refusal or a limit is the platform at work."""
    with guarded(breaker, lambda _request: httpx.Response(status)) as client:
        for _ in range(30):
            assert client.get("/").status_code == status
    assert breaker.state().name == "closed"


@pytest.mark.parametrize("failure", [500, 504, httpx.ReadTimeout("")])
def test_failures_open_the_breaker(breaker: CircuitBreaker, failure: int | Exception) -> None:
    """Twenty answers of 500 or more, or none at all."""

    def fail(_request: httpx.Request) -> httpx.Response:
        if isinstance(failure, Exception):
            raise failure
        return httpx.Response(failure)

    with guarded(breaker, fail) as client:
        for _ in range(20):
            try:
                client.get("/")
            except httpx.ReadTimeout:
                continue
        with pytest.raises(UnavailableError):
            client.get("/")


@pytest.mark.parametrize(
    "ours", [httpx.PoolTimeout(""), httpx.LocalProtocolError(""), httpx.UnsupportedProtocol("")]
)
def test_what_is_our_own_says_nothing_about_the_platform(
    breaker: CircuitBreaker, ours: httpx.TransportError
) -> None:
    """A full pool, a request that cannot be written: one tenant's bad row opens nothing for the others."""

    def fail(_request: httpx.Request) -> httpx.Response:
        raise ours

    with guarded(breaker, fail) as client:
        for _ in range(30):
            with pytest.raises(type(ours)):
                client.get("/")
    assert breaker.state().name == "closed"

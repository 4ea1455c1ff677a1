"""Calls that carry a token, on a real Redis."""

import httpx
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import UnavailableError
from shared.http.deadline import within
from shared.tokens import TokenAuth, TokenCache
from shared.tokens.policy import RefreshPolicy
from tests.shared.tokens.minting import ACCOUNT, Mint
from tests.shared.tokens.stores import MemoryStore


class Door:
    """An API that takes some tokens and notes what it was shown."""

    def __init__(self, *good: str) -> None:
        self.good = good
        self.seen: list[tuple[str, bytes]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((request.headers["authorization"], request.read()))
        token = request.headers["authorization"].removeprefix("Bearer ")
        return httpx.Response(200 if token in self.good else 401)


def test_auth_repeats_a_refused_call_once_with_another_token(redis_client: "redis.Redis") -> None:
    """401: the token is dropped, and the whole call is made again with a new one."""
    cache, door = TokenCache(redis_client, Mint(), MemoryStore()), Door(f"{ACCOUNT}-2")
    with httpx.Client(
        transport=httpx.MockTransport(door), auth=TokenAuth(cache, ACCOUNT)
    ) as client:
        assert client.post("http://platform.test/", json={"to": "1"}).status_code == 200
        assert client.post("http://platform.test/", json={"to": "1"}).status_code == 200
    assert [token for token, _ in door.seen] == [
        f"Bearer {ACCOUNT}-{number}" for number in (1, 2, 2)
    ]
    assert {body for _, body in door.seen} == {b'{"to":"1"}'}


def test_auth_never_loops(redis_client: "redis.Redis") -> None:
    """A platform that takes no token at all is asked twice, its 401 is handed on, and nobody asks for some seconds."""
    mint = Mint()
    door = Door()
    auth = TokenAuth(TokenCache(redis_client, mint, MemoryStore()), ACCOUNT)
    with httpx.Client(transport=httpx.MockTransport(door), auth=auth) as client:
        assert client.get("http://platform.test/").status_code == 401
        with pytest.raises(UnavailableError) as caught:
            client.get("http://platform.test/")
    assert caught.value.retry_after_s == pytest.approx(5, abs=0.5)
    assert len(door.seen) == 2
    assert mint.calls == 2


@pytest.mark.parametrize(
    "fault", [AttributeError("'NoneType' object"), KeyError("wppApiKey"), ValueError("no time")]
)
def test_a_fault_of_our_own_over_a_token_is_told_as_not_sent(
    redis_client: "redis.Redis", fault: Exception
) -> None:
    """Only what happens to the call itself may leave open whether it arrived."""
    store, door = MemoryStore(), Door()
    store.failure = fault
    times = RefreshPolicy(pause_s=10, longest_pause_s=10)
    auth = TokenAuth(TokenCache(redis_client, Mint(), store, times), ACCOUNT)
    with httpx.Client(transport=httpx.MockTransport(door), auth=auth) as client:
        for _ in range(2):
            with pytest.raises(UnavailableError):
                client.get("http://platform.test/")
    assert door.seen == []
    assert store.loads == 1, "the account is left alone for a moment"


def test_a_401_that_cannot_be_noted_is_told_as_not_sent(redis_client: "redis.Redis") -> None:
    """Redis goes away between the call and its answer: the platform has refused it all the same."""
    with redis.Redis(port=1, retry=Retry(NoBackoff(), 0)) as away:
        cache = TokenCache(redis_client, Mint(), MemoryStore())
        auth = TokenAuth(cache, ACCOUNT)
        cache.get(ACCOUNT)
        cache._flights._script.registered_client = away  # noqa: SLF001 - its Redis is away from now on
        with (
            httpx.Client(transport=httpx.MockTransport(Door()), auth=auth) as client,
            pytest.raises(UnavailableError),
        ):
            client.get("http://platform.test/")


def test_auth_keeps_to_the_deadline_of_its_call(redis_client: "redis.Redis") -> None:
    """A call without time for a token fails before anything is sent."""
    door = Door()
    auth = TokenAuth(TokenCache(redis_client, Mint(), MemoryStore()), ACCOUNT)
    with httpx.Client(transport=httpx.MockTransport(door), auth=auth) as client:  # noqa: SIM117 - the call is what fails
        with within(0.5), pytest.raises(UnavailableError):
            client.get("http://platform.test/")
    assert door.seen == []

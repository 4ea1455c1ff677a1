"""Calls with a token, on a real Redis."""

import httpx
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import UnavailableError
from shared.http.deadline import within
from shared.tokens import TokenAuth, TokenCache
from shared.tokens.policy import RefreshPolicy
from tests.shared.tokens.minting import ACCOUNT, FakeMint
from tests.shared.tokens.stores import MemoryStore


class FakeApi:
    """Accepts the tokens in `valid`, and records the headers and bodies it gets."""

    def __init__(self, *valid: str) -> None:
        self.valid = valid
        self.seen: list[tuple[str, bytes]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((request.headers["authorization"], request.read()))
        token = request.headers["authorization"].removeprefix("Bearer ")
        return httpx.Response(200 if token in self.valid else 401)


def test_auth_repeats_a_rejected_call_once_with_a_new_token(redis_client: "redis.Redis") -> None:
    """A 401 drops the token and repeats the whole call with a new token."""
    cache = TokenCache(redis_client, FakeMint(), MemoryStore())
    api = FakeApi(f"{ACCOUNT}-2")
    with httpx.Client(transport=httpx.MockTransport(api), auth=TokenAuth(cache, ACCOUNT)) as client:
        assert client.post("http://platform.test/", json={"to": "1"}).status_code == 200
        assert client.post("http://platform.test/", json={"to": "1"}).status_code == 200
    assert [token for token, _ in api.seen] == [
        f"Bearer {ACCOUNT}-{number}" for number in (1, 2, 2)
    ]
    assert {body for _, body in api.seen} == {b'{"to":"1"}'}


def test_auth_never_loops(redis_client: "redis.Redis") -> None:
    """A platform that rejects every token gets two calls; then the account pauses for 5 s."""
    mint = FakeMint()
    api = FakeApi()
    auth = TokenAuth(TokenCache(redis_client, mint, MemoryStore()), ACCOUNT)
    with httpx.Client(transport=httpx.MockTransport(api), auth=auth) as client:
        assert client.get("http://platform.test/").status_code == 401
        with pytest.raises(UnavailableError) as caught:
            client.get("http://platform.test/")
    assert caught.value.retry_after_s == pytest.approx(5, abs=0.5)
    assert len(api.seen) == 2
    assert mint.calls == 2


@pytest.mark.parametrize(
    "error", [AttributeError("'NoneType' object"), KeyError("wppApiKey"), ValueError("no time")]
)
def test_an_internal_error_raises_unavailable(
    redis_client: "redis.Redis", error: Exception
) -> None:
    """An error before the call proves that nothing was sent."""
    store = MemoryStore()
    api = FakeApi()
    store.failure = error
    policy = RefreshPolicy(pause_s=10, max_pause_s=10)
    auth = TokenAuth(TokenCache(redis_client, FakeMint(), store, policy), ACCOUNT)
    with httpx.Client(transport=httpx.MockTransport(api), auth=auth) as client:
        for _ in range(2):
            with pytest.raises(UnavailableError):
                client.get("http://platform.test/")
    assert api.seen == []
    assert store.loads == 1, "the account pauses after the first error"


def test_a_401_without_redis_raises_unavailable(redis_client: "redis.Redis") -> None:
    """Redis stops between the call and its answer; the platform rejected the call all the same."""
    with redis.Redis(port=1, retry=Retry(NoBackoff(), 0)) as away:
        cache = TokenCache(redis_client, FakeMint(), MemoryStore())
        auth = TokenAuth(cache, ACCOUNT)
        cache.get(ACCOUNT)
        cache._flights._redis = away  # noqa: SLF001 - its Redis is away now
        with (
            httpx.Client(transport=httpx.MockTransport(FakeApi()), auth=auth) as client,
            pytest.raises(UnavailableError),
        ):
            client.get("http://platform.test/")


def test_auth_respects_the_deadline_of_its_call(redis_client: "redis.Redis") -> None:
    """A call without time to get a token fails before it is sent."""
    api = FakeApi()
    auth = TokenAuth(TokenCache(redis_client, FakeMint(), MemoryStore()), ACCOUNT)
    with (
        httpx.Client(transport=httpx.MockTransport(api), auth=auth) as client,
        within(0.5),
        pytest.raises(UnavailableError),
    ):
        client.get("http://platform.test/")
    assert api.seen == []

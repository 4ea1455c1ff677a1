"""`python -m workers.health ROLE` is the liveness check of a container."""

import pytest
import redis

from sandbox.redis import RedisServer
from workers import health
from workers.pulse import Pulse


@pytest.fixture(autouse=True)
def _settings(
    redis_server: RedisServer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    del redis_client  # requested because it empties Redis
    monkeypatch.setenv("REDIS_URL", redis_server.url)


def test_a_role_that_runs_here(redis_client: redis.Redis) -> None:
    Pulse(redis_client, ["send"]).report()
    assert health.main(["send"]) == 0


def test_a_role_that_does_not(
    redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    Pulse(redis_client, ["media"]).report()
    assert health.main(["send"]) == 1
    assert capsys.readouterr().out == "send: no process runs\n"


def test_an_outage_of_redis_is_no_reason_to_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    assert health.main(["send"]) == 0


@pytest.mark.parametrize("roles", [[], ["sent"]], ids=["none", "misspelled"])
def test_an_unknown_role(roles: list[str]) -> None:
    assert health.main(roles) == 2

"""How the door says what went wrong beneath it."""

import asyncio

import pytest
import redis

from workers.ingress.problems import said

UNABLE = [
    redis.ConnectionError("away"),
    redis.BusyLoadingError("Redis is loading the dataset in memory"),
    redis.ReadOnlyError("You can't write against a read only replica."),
    redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    redis.ResponseError("MISCONF Redis is configured to save RDB snapshots, but it is unable to persist to disk."),
]


@pytest.mark.parametrize("error", UNABLE)
def test_a_redis_that_cannot_accept_now_is_503(error: Exception) -> None:
    """Whatever hinders it: the caller is told to come back."""
    answer = asyncio.run(said(error))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


def test_a_mistake_of_ours_is_500() -> None:
    """Coming back would not help."""
    assert asyncio.run(said(redis.ResponseError("WRONGTYPE Operation against a key"))).status_code == 500

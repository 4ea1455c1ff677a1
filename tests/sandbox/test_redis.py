"""The sandbox's Redis is durable, survives kill -9, and reports why it could not start."""

from pathlib import Path

import pytest
import redis

from sandbox.errors import PortTakenError, SandboxError
from sandbox.redis import ONCE, RedisServer


def test_it_has_the_settings_that_production_needs(redis_client: redis.Redis) -> None:
    expected = {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    assert {name: redis_client.config_get(name)[name] for name in expected} == expected


def test_it_is_empty_at_the_start_of_a_test(redis_client: redis.Redis) -> None:
    assert redis_client.dbsize() == 0
    redis_client.set("wpp:left", "behind")


def test_it_is_empty_at_the_start_of_the_next_test(redis_client: redis.Redis) -> None:
    assert redis_client.dbsize() == 0
    redis_client.set("wpp:left", "behind")


def test_an_acknowledged_write_survives_a_kill(tmp_path: Path) -> None:
    """The last write before kill -9 is there after a restart on the same directory and port."""
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        for number in range(100):
            client.set("wpp:number", number)
        before = server.pid
        server.restart()
        assert server.pid != before
        assert client.get("wpp:number") == b"99"


def test_stop_frees_the_port(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        url = server.url
    with redis.Redis.from_url(url, retry=ONCE) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_a_taken_port_is_named_with_its_holder(tmp_path: Path, redis_server: RedisServer) -> None:
    with pytest.raises(
        PortTakenError, match=rf"{redis_server.port}, needed by redis-server.*redis-server \(pid"
    ):
        RedisServer(tmp_path, redis_server.port).start()


def test_the_error_has_the_reason_from_the_log(tmp_path: Path) -> None:
    """A server that refuses its data ends with the reason from its own log."""
    (tmp_path / "appendonly.aof").write_text("no commands at all\n")
    with pytest.raises(SandboxError, match="Bad file format"):
        RedisServer(tmp_path).start()

from pathlib import Path

import pytest
import redis

from sandbox.errors import PortTakenError, SandboxError
from sandbox.redis import ONCE, RedisServer


def test_serves_with_the_settings_that_we_ask_of_production(redis_client: redis.Redis) -> None:
    wanted = {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    assert {name: redis_client.config_get(name)[name] for name in wanted} == wanted


def test_each_test_finds_it_empty(redis_client: redis.Redis) -> None:
    assert redis_client.dbsize() == 0
    redis_client.set("wpp:left", "behind")


def test_each_test_finds_it_empty_again(redis_client: redis.Redis) -> None:
    assert redis_client.dbsize() == 0
    redis_client.set("wpp:left", "behind")


def test_keeps_every_acknowledged_write_through_a_kill(tmp_path: Path) -> None:
    """The last write before kill -9 is there after a restart on the same directory and port."""
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        for number in range(100):
            client.set("wpp:number", number)
        before = server.pid
        server.restart()
        assert server.pid != before
        assert client.get("wpp:number") == b"99"


def test_stop_leaves_nobody_on_the_port(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        url = server.url
    with redis.Redis.from_url(url, retry=ONCE) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_says_who_holds_its_port(tmp_path: Path, redis_server: RedisServer) -> None:
    with pytest.raises(
        PortTakenError, match=rf"{redis_server.port}, needed by redis-server.*redis-server \(pid"
    ):
        RedisServer(tmp_path, redis_server.port).start()


def test_says_why_it_could_not_start(tmp_path: Path) -> None:
    """A server that refuses its data ends with the reason from its own log."""
    (tmp_path / "appendonly.aof").write_text("no commands at all\n")
    with pytest.raises(SandboxError, match="Bad file format"):
        RedisServer(tmp_path).start()

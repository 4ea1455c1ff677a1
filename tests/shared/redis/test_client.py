"""A Redis that may lose data is refused; tests use real servers with changed settings."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from redis.utils import HIREDIS_AVAILABLE

from sandbox.redis import RedisServer
from shared.errors import NotDurableError
from shared.redis.client import check_durability, connect, connect_durable, is_transient
from shared.settings import RedisSettings


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return a server of this module; the tests change its durability settings."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def configured(redis_client: redis.Redis) -> Iterator[Any]:
    """Return a function that changes a setting of the server until the end of the test."""
    before: dict[str, str] = {}

    def configure(name: str, value: str) -> None:
        settings: dict[Any, Any] = redis_client.config_get(name)
        before.setdefault(
            name, settings[name.encode()].decode() if name.encode() in settings else settings[name]
        )
        redis_client.config_set(name, value)

    yield configure
    for name, value in before.items():
        redis_client.config_set(name, value)


def test_the_local_redis_passes_the_check(redis_client: redis.Redis) -> None:
    """`sandbox.redis` starts it with production settings."""
    assert check_durability(redis_client) == []


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("appendonly", "no", "appendonly is off"),
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy is allkeys-lru"),
        ("maxmemory-policy", "volatile-ttl", "maxmemory-policy is volatile-ttl"),
    ],
)
def test_a_volatile_redis_is_refused_with_the_reason(
    name: str, value: str, reason: str, configured: Any, redis_client: redis.Redis
) -> None:
    """With `allow` it is accepted, and the reason is a warning."""
    configured(name, value)
    with pytest.raises(NotDurableError, match=reason):
        check_durability(redis_client)
    assert reason in check_durability(redis_client, allow=True)[0]


def test_a_redis_that_may_lose_seconds_is_a_warning(
    configured: Any, redis_client: redis.Redis
) -> None:
    """`appendfsync everysec` is accepted."""
    configured("appendfsync", "everysec")
    assert "appendfsync is everysec" in check_durability(redis_client)[0]


@pytest.fixture
def without_config(redis_server: RedisServer, redis_client: redis.Redis) -> Iterator["redis.Redis"]:
    """Return a client that may not use CONFIG, as on a managed Redis."""
    redis_client.acl_setuser(
        "managed",
        enabled=True,
        passwords=["+pw"],
        categories=["+@all"],
        commands=["-config"],
        keys=["*"],
    )
    url = f"redis://managed:pw@127.0.0.1:{redis_server.port}/0"
    with connect(SecretStr(url)) as client:
        yield client
    redis_client.acl_deluser("managed")


def test_info_is_used_where_config_is_forbidden(
    without_config: "redis.Redis", configured: Any
) -> None:
    """A warning names the setting that could not be checked."""
    assert "appendfsync could not be checked" in check_durability(without_config)[0]
    configured("maxmemory-policy", "allkeys-random")
    with pytest.raises(NotDurableError, match="maxmemory-policy is allkeys-random"):
        check_durability(without_config)
    configured("maxmemory-policy", "noeviction")
    configured("appendonly", "no")
    with pytest.raises(NotDurableError, match="appendonly is off"):
        check_durability(without_config)


def test_an_old_redis_is_refused() -> None:
    """The scripts use commands of version 6.2."""

    class OldRedis(redis.Redis):
        def info(self, *_: Any, **__: Any) -> Any:
            return {"redis_version": "6.0.16", "aof_enabled": 1, "maxmemory_policy": "noeviction"}

        def config_get(self, *_: Any, **__: Any) -> Any:
            return {}

    with pytest.raises(NotDurableError, match=r"version 6\.0\.16"):
        check_durability(OldRedis())


def test_a_client_survives_a_restart_of_redis(tmp_path: Path) -> None:
    """It connects again and repeats the command."""
    with RedisServer(tmp_path) as server, connect(server.url) as client:
        client.set("x", 1)
        server.restart()
        assert client.get("x") == b"1"


def fill_memory(client: redis.Redis, _directory: Path) -> None:
    client.config_set("maxmemory", 1)


def make_replica(client: redis.Redis, _directory: Path) -> None:
    client.replicaof("127.0.0.1", 1)


def break_disk(client: redis.Redis, directory: Path) -> None:
    (directory / "dump.rdb").mkdir()
    client.config_set("save", "3600 1")
    client.bgsave()
    while client.info("persistence")["rdb_bgsave_in_progress"]:
        time.sleep(0.01)


def shut_down(client: redis.Redis, _directory: Path) -> None:
    client.shutdown(nosave=True)


@pytest.mark.parametrize("fail", [fill_memory, make_replica, break_disk, shut_down])
def test_a_redis_that_cannot_write_now_is_a_transient_error(
    fail: Callable[..., None], tmp_path: Path
) -> None:
    """In a command, in a script and in a pipeline; a programming error is not transient."""
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.set("text", "x")
        with pytest.raises(redis.ResponseError) as mistake:
            client.lpush("text", 1)
        assert not is_transient(mistake.value)
        fail(client, tmp_path)
        pipe = client.pipeline(transaction=False)
        pipe.set("a", 1)
        script: Any = client.register_script("return redis.call('SET', KEYS[1], 1)")
        for write in (lambda: client.set("a", 1), lambda: script(keys=["a"]), pipe.execute):
            with pytest.raises(redis.RedisError) as error:
                write()
            assert is_transient(error.value), error.value
        server.kill()  # a server with a broken disk refuses to shut down


def test_replies_are_parsed_in_c() -> None:
    """redis-py takes hiredis when it is installed: claims cost a third less in Python then."""
    assert HIREDIS_AVAILABLE


def test_a_start_asks_a_silent_redis_once() -> None:
    """Its process can say why it does not start within 5 s: a connection, a timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = SecretStr(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        with pytest.raises(redis.TimeoutError):
            connect_durable(RedisSettings(redis_url=url))
        silent.settimeout(0.2)
        silent.accept()[0].close()
        with pytest.raises(TimeoutError):
            silent.accept()

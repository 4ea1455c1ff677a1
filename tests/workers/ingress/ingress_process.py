"""The ingress as a process of its own, with nothing behind it but Redis."""

import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import redis

from sandbox.ports import LOCALHOST, free_port
from sandbox.processes import Process, Program, serves
from shared import signed_keys
from shared.events import WebhookEvent
from shared.redis import keys
from tests.shared.webhooks.arriving import ACCOUNT

KEY_SECRET = "a secret of the tests: it is long enough to sign"
SHARED_SECRET = "the old URLs' shared secret"


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]


class Door:
    """`settings` go on top of those that it needs."""

    def __init__(self, redis_url: str, directory: Path, **settings: str) -> None:
        port = free_port()
        self.url = f"http://{LOCALHOST}:{port}"
        self.redis_url = redis_url
        environment = {
            **os.environ,
            "REDIS_URL": redis_url,
            "SUPABASE_URL": "http://127.0.0.1:9",
            "SUPABASE_ANON_KEY": "anon",
            "SUPABASE_SERVICE_ROLE_KEY": "service",
            "WPP_KEY_SECRETS": KEY_SECRET,
            "WPP_PUBLIC_URL": self.url,
            **settings,
        }
        command = (sys.executable, "-m", "workers.ingress", "--port", str(port))
        self.log = directory / "door.log"
        self._process = Process(Program("the ingress", command, self.log, port, environment))
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        self._process.wait_until(serves(f"{self.url}/health"), within_s=30)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.http.close()
        self._process.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def path(self, account: str = ACCOUNT) -> str:
        return f"/webhooks/wpp/{account}/{signed_keys.make_webhook_key(account, [KEY_SECRET.encode()])}"

    def post(
        self, body: Any, path: str | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Post `body` (bytes as they are, anything else as JSON)."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.http.post(path or self.path(), content=content, headers=headers)
        return Answer(answer.status_code, answer.json() if answer.content else {})

    def raw(self, head: str, *pieces: bytes) -> socket.socket:
        """Open a connection and write a request as it comes; the caller reads and closes."""
        connection = socket.create_connection(
            (LOCALHOST, int(urlsplit(self.url).port or 0)), timeout=20
        )
        connection.sendall(f"POST {self.path()} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        for piece in pieces:
            connection.sendall(piece)
        return connection


def accepted(client: "redis.Redis") -> list[WebhookEvent]:
    """Return the events that wait, lane by lane."""
    lanes = sorted(key.decode() for key in client.scan_iter(keys.lane("event:*"), _type="list"))
    found: list[Any] = [each for lane in lanes for each in client.lrange(lane, 0, -1)]
    bodies = [client.hget(keys.event(each.decode()), "body") for each in found]
    return [WebhookEvent.model_validate_json(body) for body in bodies if body]

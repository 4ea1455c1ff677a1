"""A Supabase that takes connections and says nothing, in front of workers that have no token."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import redis

from shared import routing
from shared.events import Message, SendEvent
from shared.lanes.types import ClaimResult, ClaimSequence, Postponed
from shared.redis import keys
from shared.tokens.policy import MINT_TIMEOUT_S, STORE_TIMEOUT_S
from tests.draining import parse_first
from tests.fixtures.waiting import Stopwatch, wait_until
from tests.workers.send.test_handler import INTEGRATION, ORGANIZATION, ROUTE
from workers.context import WorkerContext, build_context
from workers.send import handler as send

THREADS = 6


class Stalled:
    """Reads requests, answers none, and counts those it has at the same time."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def _take(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = connection.recv(65_536)
            with self._lock:
                self.seen.append(request.partition(b"\r\n")[0])
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
            while connection.recv(65_536):
                pass
            with self._lock:
                self.at_once -= 1


@pytest.fixture
def stalled() -> Iterator[Stalled]:
    found = Stalled()
    yield found
    found.close()


@pytest.fixture
def workers(
    redis_client: "redis.Redis", stalled: Stalled, monkeypatch: pytest.MonkeyPatch
) -> list[WorkerContext]:
    """Return two workers as in production; their integrations are known without Supabase."""
    settings = {
        "SUPABASE_URL": stalled.url,
        "SUPABASE_ANON_KEY": "anon",
        "SUPABASE_SERVICE_ROLE_KEY": "service",
        "WPP_BASE_URL": "http://127.0.0.1:1",
        "WPP_SECRET": "secret",
        "WPP_KEY_SECRETS": "k" * 32,
        "WPP_PUBLIC_URL": "http://127.0.0.1:1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    known: Any = type("Known", (), {"find_route": lambda _self, _id: ROUTE})()
    return [replace(build_context(redis_client), route_cache=known) for _ in range(2)]


def test_sends_are_postponed_in_time_and_one_asks(
    workers: list[WorkerContext], stalled: Stalled, redis_client: "redis.Redis"
) -> None:
    """No request left, so no message is unknown; the account's lease outlasts its holder's wait."""
    for number in range(2 * THREADS):
        text = Message(to=f"+7999000{number:04d}", text="Hello")
        workers[0].lanes.append(routing.route_send(ORGANIZATION, INTEGRATION, text))
    verdicts: list[ClaimResult] = []

    def work(ctx: WorkerContext) -> None:
        claim = ctx.lanes.claim("send", ClaimSequence())
        assert claim
        verdicts.append(parse_first(SendEvent, send.handle_send)(claim, ctx))

    threads = [threading.Thread(target=work, args=(ctx,)) for ctx in workers * THREADS]
    lease = keys.token_lease(ROUTE.account)
    with Stopwatch() as watch:
        began = time.monotonic()
        for thread in threads:
            thread.start()
        lease_ms = wait_until(lambda: max(0, redis_client.pttl(lease)), "the lease")
        passed_ms = (time.monotonic() - began) * 1000
        for thread in threads:
            thread.join()
    assert watch.seconds < STORE_TIMEOUT_S + 1.5
    assert lease_ms + passed_ms > (STORE_TIMEOUT_S + MINT_TIMEOUT_S) * 1000
    assert len(verdicts) == 2 * THREADS
    assert all(isinstance(verdict, Postponed) for verdict in verdicts)
    assert stalled.most_at_once == 1
    assert stalled.seen == [b"POST /rest/v1/rpc/wpp_settings HTTP/1.1"]

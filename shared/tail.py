"""Transitions of all processes as they happen, for `wpp tail`: a channel that only watchers fill.

A process looks for a watcher when it has something to tell, once a second at most: an idle process
sends no command, and without a watcher nothing is published.
"""

import json
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import Any

import redis

from shared.logs import mask_fields
from shared.redis import keys

MAX_LINES = 5000
"""Transitions that wait for their publication; the oldest are lost beyond that."""
TURN_S = 0.1
TURN_LINES = 100
"""How long a watcher of several shards waits for one of them, and how much it reads at a time."""


class TailPublisher:
    """Publishes the transitions of a process while a watcher listens."""

    def __init__(self, client: "redis.Redis", process: str) -> None:
        self._client = client
        self._process = process
        self._heard: deque[tuple[datetime, str, dict[str, Any]]] = deque(maxlen=MAX_LINES)

    def hear(self, event: str, fields: Mapping[str, Any]) -> None:
        """Keep a transition for the next `publish`: a listener of `shared.transitions`."""
        self._heard.append((datetime.now(UTC), event, dict(fields)))

    def publish(self) -> None:
        """Publish what was heard if a watcher listens, else drop it; raises redis.RedisError."""
        if not self._heard:
            return
        reply: Any = self._client.pubsub_numsub(keys.TAIL)
        if not reply[0][1]:
            self._heard.clear()
            return
        pipe = self._client.pipeline(transaction=False)
        while self._heard:
            pipe.publish(keys.TAIL, self._format_line(*self._heard.popleft()))
        pipe.execute()

    def _format_line(self, at: datetime, event: str, fields: dict[str, Any]) -> str:
        masked = mask_fields(None, "", fields)
        line = {"at": at.isoformat(timespec="milliseconds"), "process": self._process}
        return json.dumps({**line, "event": event, **masked}, default=str)


def watch(
    client: "redis.Redis", timeout_s: float = 1.0
) -> Generator[dict[str, Any] | None, None, None]:
    """Yield each transition as it is published; None when none came for `timeout_s`."""
    with client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(keys.TAIL)
        while True:
            message = channel.get_message(timeout=timeout_s)
            yield json.loads(message["data"]) if message else None


def watch_all(clients: "Sequence[redis.Redis]") -> Generator[dict[str, Any] | None, None, None]:
    """Yield the transitions of several shards as `watch` does: some of each in turn."""
    watching = [watch(client, TURN_S if clients[1:] else 1.0) for client in clients]
    with ExitStack() as undo:
        for each in watching:
            undo.enter_context(closing(each))
        while True:
            for each in watching:
                yield from islice(takewhile(bool, each), TURN_LINES)
            yield None

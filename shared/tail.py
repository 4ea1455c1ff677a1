"""Transitions of all processes as they happen, for `wpp tail`: a channel that only watchers fill.

Without a watcher a process publishes nothing, and a transition costs it a comparison.
"""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import redis

from shared.logs import mask_fields
from shared.redis import keys

MAX_LINES = 5000
"""Lines that wait for their publication; the oldest are lost beyond that."""


class TailPublisher:
    """Publishes the transitions of a process while a watcher listens."""

    def __init__(self, client: "redis.Redis", process: str) -> None:
        self._client = client
        self._process = process
        self._watched = False
        self._lines: deque[str] = deque(maxlen=MAX_LINES)

    def hear(self, event: str, fields: Mapping[str, Any]) -> None:
        """Keep a transition for the next `publish`: a listener of `shared.transitions`."""
        if self._watched:
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            masked = mask_fields(None, "", dict(fields))
            line = {"at": at, "process": self._process, "event": event, **masked}
            self._lines.append(json.dumps(line, default=str))

    def publish(self) -> None:
        """Publish what was heard, and look whether a watcher listens; raises redis.RedisError."""
        reply: Any = self._client.pubsub_numsub(keys.TAIL)
        self._watched = bool(reply[0][1])
        pipe = self._client.pipeline(transaction=False)
        while self._lines:
            pipe.publish(keys.TAIL, self._lines.popleft())
        if len(pipe):
            pipe.execute()


def watch(client: "redis.Redis", timeout_s: float = 1.0) -> Iterator[dict[str, Any] | None]:
    """Yield each transition as it is published; None when none came for `timeout_s`."""
    with client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(keys.TAIL)
        while True:
            message = channel.get_message(timeout=timeout_s)
            yield json.loads(message["data"]) if message else None

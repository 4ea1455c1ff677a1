"""Dramatiq's queues in Redis, one atomic command for each step: `queues.lua`, where the keys are described."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from uuid import uuid4

import redis
from redis.exceptions import NoScriptError

SCRIPT = files("shared.broker").joinpath("queues.lua").read_text()
SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""Redis knows scripts by their SHA-1."""
REQUEUED_AT_ONCE = 1000
"""Ids per command: Lua takes about 8,000 arguments at most."""


@dataclass(frozen=True)
class Entry:
    """One message on its way in.

    `delay` in ms. `unless_depth`: not if so many are waiting; -1 is without limit. `wanted`: the key of a counter that
    says how many such messages are wanted, and is lowered by one; not if none is.
    """

    queue: str
    id: str
    message: bytes
    delay: int = 0
    unless_depth: int = -1
    replaces: str = ""
    wanted: str = ""


@dataclass(frozen=True)
class Tick:
    """`due_s`: seconds until a delayed message is due, None without one. `held`: the ids that this worker holds."""

    due_s: float | None
    held: list[str]


class Queues:
    """The queues as one worker process sees them; `worker` is its name. Every call may raise `redis.RedisError`."""

    def __init__(self, client: "redis.Redis", namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self.prefix = f"{namespace}:"
        self.worker = str(uuid4())
        self._script = client.register_script(SCRIPT)

    def enqueue(self, entry: Entry) -> bool:
        """Return whether it is new: neither a repetition nor one too many."""
        return bool(self._call(*_arguments(entry, self.worker)))

    def enqueue_many(self, entries: Iterable[Entry]) -> None:
        """Enqueue all in one round trip."""
        entries = list(entries)
        try:
            self._pipelined(entries)
        except NoScriptError:
            load_scripts(self.client)
            self._pipelined(entries)

    def fetch(self, queue: str, room: int) -> list[tuple[str, bytes]]:
        """Take up to `room` messages as (id, message); fewer only if the queue is empty now."""
        reply = self._call("fetch", queue, self.worker, room)
        return [(reply[i].decode(), reply[i + 1]) for i in range(0, len(reply), 2)]

    def ack(self, queue: str, message_id: str) -> None:
        self._call("ack", queue, self.worker, message_id)

    def nack(self, queue: str, message_id: str) -> None:
        """Move it to the dead letters of `queue`."""
        self._call("nack", queue, self.worker, message_id)

    def requeue(self, ids: Sequence[str]) -> None:
        """Put what this worker holds back to the head of its queues, in this order."""
        for last in range(
            len(ids), 0, -REQUEUED_AT_ONCE
        ):  # from the end: each batch goes before the one behind it
            self._call("requeue", self.worker, *ids[max(0, last - REQUEUED_AT_ONCE) : last])

    def tick(self, queues: Iterable[str], heartbeat_timeout: int, dead_letter_ttl: int) -> Tick:
        """Heartbeat and housekeeping. Times in ms."""
        due, *held = self._call("tick", self.worker, heartbeat_timeout, dead_letter_ttl, *queues)
        return Tick(
            due_s=None if due < 0 else due / 1000, held=[message_id.decode() for message_id in held]
        )

    def leave(self) -> None:
        self._call("leave", self.worker)

    def pass_on(self, queue: str) -> None:
        self._call("pass_on", queue)

    def purge(self, queue: str) -> None:
        self._call("purge", queue)

    def size(self, queue: str) -> int:
        """Return how many messages are waiting, delayed or held."""
        return self.client.hlen(f"{self.prefix}{queue}.msgs")

    def bell(self, queue: str) -> str:
        return f"{self.prefix}{queue}.bell"

    @property
    def own_bell(self) -> str:
        return f"{self.prefix}poke:{self.worker}"

    def await_bell(self, bells: Sequence[str], timeout_s: float) -> str | None:
        """Block until one of `bells` rings, and return which."""
        reply: Any = self.client.blpop(bells, timeout=timeout_s)
        return reply[0].decode() if reply else None

    def poke(self) -> None:
        """Wake whoever of this process blocks on its bells."""
        self._call("poke", self.worker)

    def _call(self, *arguments: Any) -> Any:
        return self._script(keys=[self.prefix], args=arguments)

    def _pipelined(self, entries: Iterable[Entry]) -> None:
        with self.client.pipeline(transaction=False) as pipe:
            for entry in entries:
                enqueue_on(pipe, self.namespace, entry)
            pipe.execute()


def enqueue_on(pipe: Any, namespace: str, entry: Entry) -> None:
    """Add the enqueue to `pipe`, a pipeline of `redis` or `redis.asyncio`. Its result is 1 if new, else 0."""
    pipe.execute_command("EVALSHA", SHA, 1, f"{namespace}:", *_arguments(entry))


def load_scripts(client: Any) -> Any:
    """Make `client`'s Redis know the script, as it has to again after a restart (`redis.exceptions.NoScriptError`).

    With a `redis.asyncio` client the answer is to be awaited.
    """
    return client.script_load(SCRIPT)


def _arguments(entry: Entry, worker: str = "") -> tuple[Any, ...]:
    options = (entry.delay, entry.unless_depth, worker, entry.replaces, entry.wanted)
    return ("enqueue", entry.queue, entry.id, entry.message, *options)

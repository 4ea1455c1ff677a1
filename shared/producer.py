"""What another service imports to enqueue. It needs Redis, and nothing else.

with Producer.connect("redis://…") as producer:
    message = Message(to="+79990001122", text="Hello")
    accepted = producer.send(organization_id, message, idempotency_key="order-17")
    producer.find(accepted.id)  # where it is
    producer.send_many(organization_id, [message, …])  # up to thousands, in few round trips

`AsyncProducer` is the same for asyncio.
"""

import asyncio
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Self, TypeVar
from uuid import UUID

import redis
import redis.asyncio
from pydantic import SecretStr

from shared.errors import PipelineError
from shared.event_ids import EventIds
from shared.events import Message
from shared.lanes import records
from shared.lanes.acceptance import read_acceptance
from shared.lanes.client import Lanes
from shared.lanes.records import Record
from shared.lanes.types import Accepted, Append
from shared.preparation import AppendOrError, Command, build_appends, find_event_ids, find_numbers
from shared.redis import connect, connect_async
from shared.redis_url import read_shards
from shared.settings import EngineSettings
from shared.shards import ShardTable

SLICE = 100
"""Messages of a script call. Redis serves nobody else meanwhile: 2 to 3 ms."""
SLICE_CHARS = 250_000
"""Characters of events after which it ends: four of the longest texts keep Redis 1 to 2 ms."""

StepsResult = TypeVar("StepsResult")
SendOutcome = Accepted | Exception
"""What became of a message: accepted, or why it was not."""
NO_IDS = EventIds(b"")
"""Where no message has an idempotency key."""


class Producer:
    """Enqueues for any organization. Threads may share it."""

    def __init__(self, client: "redis.Redis", settings: EngineSettings | None = None) -> None:
        self._client = client
        self._lanes = Lanes(client, settings or EngineSettings())
        self._event_ids: EventIds | None = None

    @classmethod
    def connect(cls, url: SecretStr | str) -> Self:
        """Return a producer on the Redis at `url`. It connects when it is used."""
        return cls(connect(url))

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(
        self, organization_id: UUID, message: Message, idempotency_key: str | None = None
    ) -> Accepted:
        """Queue a message durably.

        With an `idempotency_key` the call is safe to repeat after an error: the same key is the
        same message. Without `integration_id` it leaves from the organization's primary number, or
        any other that is enabled, as far as Redis knows them.

        Raises:
            NotFoundError: no such number in this organization, or none is known here: name one.
            IdempotencyConflictError: the key was used for a different message.
            OverloadedError: too much is waiting; try again later.
            ValueError: the key is empty, the recipient is no phone in the organization's region, or
                the number is disabled.
            redis.RedisError: Redis did not confirm.
        """
        (item,) = self._prepare(organization_id, [message], [idempotency_key])
        return self._lanes.append(_require(item))

    def send_many(
        self,
        organization_id: UUID,
        messages: Sequence[Message],
        idempotency_keys: Sequence[str | None] | None = None,
    ) -> list[SendOutcome]:
        """Queue messages durably, in order; return what became of each.

        In place of a refused message stands the error that `send` raises for it. After a
        redis.RedisError the rest is not tried: with idempotency keys, repeat the call.

        Raises:
            ValueError: there are not as many keys as messages, or a key is empty.
            redis.RedisError: Redis did not answer before the first message.
        """
        prepared = self._prepare(organization_id, messages, _pair(messages, idempotency_keys))
        slices = _cut(prepared, self._lanes)
        read: list[Future[list[SendOutcome]]] = []
        outage = None
        # This thread calls Redis, and the other one builds while it waits. The other way round, a
        # call waits for the interpreter's lock until the next slice is built.
        with ThreadPoolExecutor(1) as pool:
            part = next(slices, None)
            while part and not outage:
                following = pool.submit(next, slices, None)
                replies = self._append(part)
                read.append(pool.submit(_read_outcomes, part, replies))
                outage = replies if isinstance(replies, Exception) else None
                part = following.result()
        outcomes = [each for one in read for each in one.result()]
        return _fill(outcomes, outage, len(messages)) if outage else outcomes

    def find(self, event_id: UUID) -> Record | None:
        """Return what became of an event, or None when it is not known (any more)."""
        return records.find_record(self._client, event_id)

    def append(self, item: Append) -> Accepted:
        """Put an event into its lane, which wakes a worker, in one round trip."""
        return self._lanes.append(item)

    def _prepare(
        self, organization_id: UUID, messages: Sequence[Message], names: Sequence[str | None]
    ) -> Iterator[AppendOrError]:
        numbers = self._run(find_numbers(organization_id, messages))
        ids = self._run(find_event_ids(organization_id, names, self._load_ids(names)))
        return build_appends(messages, ids, numbers)

    def _append(self, part: "_Slice") -> list[Any] | Exception:
        try:
            return self._lanes.append_packed(part.arguments) if part.arguments else []
        except (redis.RedisError, OSError) as error:
            return error

    def _load_ids(self, names: Sequence[str | None]) -> EventIds:
        if self._event_ids is None and any(name is not None for name in names):
            self._event_ids = EventIds.load(self._client)
        elif self._event_ids and self._event_ids.is_due:
            self._event_ids.keep(self._client)
        return self._event_ids or NO_IDS

    def _run(self, steps: Generator[list[Command], list[Any], StepsResult]) -> StepsResult:
        """Carry out steps: the commands of each in a round trip."""
        try:
            commands = next(steps)
            while True:
                pipe = self._client.pipeline(transaction=False)
                for command in commands:
                    pipe.execute_command(*command)
                commands = steps.send(pipe.execute())
        except StopIteration as end:
            result: StepsResult = end.value
            return result


class Producers:
    """A producer for each of several shards (shared/shards.py)."""

    def __init__(self, table: ShardTable, by_name: Mapping[str, Producer]) -> None:
        self._table = table
        self._by_name = by_name

    @classmethod
    def connect(cls, shards: str) -> Self:
        """Return the producers of the shards that a text lists as `WPP_SHARDS` does."""
        urls = {name: SecretStr(url) for name, url in read_shards(shards).items()}
        producers = {name: Producer.connect(url) for name, url in urls.items()}
        return cls(ShardTable.connect(urls), producers)

    def of(self, organization_id: UUID) -> Producer:
        """Return the producer for an organization.

        Raises:
            OverloadedError: the organization moves to another shard; try again later.
            redis.RedisError: the home does not answer.
        """
        return self._by_name[self._table.require(organization_id)]


class AsyncProducer:
    """The same for asyncio: each method does what that of `Producer` does."""

    def __init__(
        self, client: "redis.asyncio.Redis", settings: EngineSettings | None = None
    ) -> None:
        self._client = client
        # Its own client is for blocking calls: there are none.
        self._lanes = Lanes(redis.Redis(), settings or EngineSettings())
        self._event_ids: EventIds | None = None

    @classmethod
    def connect(cls, url: SecretStr | str) -> Self:
        """Return a producer on the Redis at `url`. It connects when it is used."""
        return cls(connect_async(SecretStr(url) if isinstance(url, str) else url))

    async def aclose(self) -> None:
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def send(
        self, organization_id: UUID, message: Message, idempotency_key: str | None = None
    ) -> Accepted:
        """Queue a message durably; raises what `Producer.send` raises."""
        (item,) = await self._prepare(organization_id, [message], [idempotency_key])
        append = _require(item)
        (reply,) = await self._lanes.append_async(self._client, [append])
        return read_acceptance(append, reply)

    async def send_many(
        self,
        organization_id: UUID,
        messages: Sequence[Message],
        idempotency_keys: Sequence[str | None] | None = None,
    ) -> list[SendOutcome]:
        """Queue messages durably, in order; return what became of each, as `Producer` does."""
        names = _pair(messages, idempotency_keys)
        slices = _cut(await self._prepare(organization_id, messages, names), self._lanes)
        outcomes: list[SendOutcome] = []
        part = next(slices, None)
        running = asyncio.create_task(self._append(part)) if part else None
        while part and running:
            await asyncio.sleep(0)  # it is on its way now
            following = next(slices, None)
            replies = await running
            if not isinstance(replies, Exception) and following:
                running = asyncio.create_task(self._append(following))
                await asyncio.sleep(0)
            outcomes += _read_outcomes(part, replies)
            if isinstance(replies, Exception):
                return _fill(outcomes, replies, len(messages))
            part = following
        return outcomes

    async def find(self, event_id: UUID) -> Record | None:
        """Return what became of an event, or None when it is not known (any more)."""
        reply: Any = await self._client.hmget(records.record_key(event_id), list(records.FIELDS))
        return records.parse_record(event_id, reply)

    async def _prepare(
        self, organization_id: UUID, messages: Sequence[Message], names: Sequence[str | None]
    ) -> Iterator[AppendOrError]:
        numbers = await self._run(find_numbers(organization_id, messages))
        known = await self._load_ids(names)
        ids = await self._run(find_event_ids(organization_id, names, known))
        return build_appends(messages, ids, numbers)

    async def _append(self, part: "_Slice") -> list[Any] | Exception:
        try:
            if part.arguments:
                return await self._lanes.append_packed_async(self._client, part.arguments)
        except (redis.RedisError, OSError) as error:
            return error
        return []

    async def _load_ids(self, names: Sequence[str | None]) -> EventIds:
        if self._event_ids is None and any(name is not None for name in names):
            self._event_ids = await EventIds.load_async(self._client)
        elif self._event_ids and self._event_ids.is_due:
            await self._event_ids.keep_async(self._client)
        return self._event_ids or NO_IDS

    async def _run(self, steps: Generator[list[Command], list[Any], StepsResult]) -> StepsResult:
        try:
            commands = next(steps)
            while True:
                pipe = self._client.pipeline(transaction=False)
                for command in commands:
                    pipe.execute_command(*command)
                commands = steps.send(await pipe.execute())
        except StopIteration as end:
            result: StepsResult = end.value
            return result


def _pair(messages: Sequence[Message], names: Sequence[str | None] | None) -> Sequence[str | None]:
    """Return a key for each message.

    Raises:
        ValueError: there are not as many keys as messages.
    """
    if names is None:
        return [None] * len(messages)
    if len(names) != len(messages):
        msg = f"{len(messages)} messages have {len(names)} idempotency keys: give each its own"
        raise ValueError(msg)
    return names


@dataclass(frozen=True)
class _Slice:
    """Messages of a script call, or their errors, and its arguments; none without a message."""

    prepared: Sequence[AppendOrError]
    arguments: Sequence[str]


def _cut(prepared: Iterator[AppendOrError], lanes: Lanes) -> Iterator[_Slice]:
    part: list[AppendOrError] = []
    chars = 0
    for each in prepared:
        part.append(each)
        chars += len(each.body) if isinstance(each, Append) else 0
        if len(part) == SLICE or chars >= SLICE_CHARS:
            yield _pack(part, lanes)
            part, chars = [], 0
    if part:
        yield _pack(part, lanes)


def _pack(part: Sequence[AppendOrError], lanes: Lanes) -> _Slice:
    items = [each for each in part if isinstance(each, Append)]
    return _Slice(part, lanes.append_arguments(items) if items else [])


def _require(item: AppendOrError) -> Append:
    if isinstance(item, Exception):
        raise item
    return item


def _read_outcomes(part: _Slice, replies: Sequence[Any] | Exception) -> list[SendOutcome]:
    waiting = repeat(replies) if isinstance(replies, Exception) else iter(replies)
    return [
        _read_outcome(each, next(waiting)) if isinstance(each, Append) else each
        for each in part.prepared
    ]


def _read_outcome(item: Append, reply: Any) -> SendOutcome:
    if isinstance(reply, Exception):
        return reply
    try:
        return read_acceptance(item, reply)
    except PipelineError as error:
        return error


def _fill(outcomes: list[SendOutcome], outage: Exception, count: int) -> list[SendOutcome]:
    return [*outcomes, *[outage] * (count - len(outcomes))]

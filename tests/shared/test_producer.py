"""The producers: what another service gets from nothing but Redis."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Barrier, Thread
from uuid import UUID, uuid4

import pytest
import redis

from sandbox.redis import RedisServer
from shared.errors import (
    IdempotencyConflictError,
    IntegrationNotFoundError,
    NotFoundError,
    OverloadedError,
)
from shared.events import Media, Message
from shared.lanes.types import Accepted
from shared.producer import SLICE, SLICE_CHARS, AsyncProducer, Producer, SendOutcome
from shared.redis import keys
from shared.route_cache import IntegrationRoute, RouteCache
from shared.settings import EngineSettings

ORGANIZATION = uuid4()


@pytest.fixture
def producer(redis_client: redis.Redis) -> Producer:
    return Producer(redis_client)


SendMany = Callable[..., list[SendOutcome]]


@pytest.fixture(params=["sync", "async"])
def send_many(
    request: pytest.FixtureRequest, redis_client: redis.Redis, redis_server: RedisServer
) -> Iterator[SendMany]:
    """Return `send_many` of each producer, as a blocking function."""
    if request.param == "sync":
        yield Producer(redis_client).send_many
        return

    async def send(
        organization_id: UUID,
        messages: Sequence[Message],
        names: Sequence[str | None] | None = None,
    ) -> list[SendOutcome]:
        async with AsyncProducer.connect(redis_server.url) as producer:
            return await producer.send_many(organization_id, messages, names)

    yield lambda *arguments: asyncio.run(send(*arguments))


def known(
    client: redis.Redis, organization_id: UUID = ORGANIZATION, **fields: object
) -> IntegrationRoute:
    route = IntegrationRoute.model_validate(
        {
            "id": uuid4(),
            "organization_id": organization_id,
            "name": "Shop",
            "account": "42",
            "is_primary": True,
            "is_enabled": True,
            **fields,
        }
    )
    RouteCache(client, database=None).store_routes([route])
    return route


def hello(**more: object) -> Message:
    return Message.model_validate({"to": "+79990001122", "text": "Hello", **more})


def test_a_message_is_kept_and_a_worker_woken(
    producer: Producer, redis_client: redis.Redis
) -> None:
    """The event is in its lane, its row is in the outbox, and the bell has a token."""
    route = known(redis_client)
    accepted = producer.send(ORGANIZATION, hello())
    record = producer.find(accepted.id)
    assert record
    assert (record.state, record.lane) == ("queued", f"send:{route.id}:79990001122")
    assert redis_client.xlen(keys.OUTBOX) == 1
    assert redis_client.llen(keys.bell("send")) == 1


def test_a_worker_is_woken_for_what_it_could_begin(
    producer: Producer, redis_client: redis.Redis
) -> None:
    """A message behind another of its conversation rings no bell; a new conversation does."""
    known(redis_client)
    for to in ("+79990001122", "+79990001122", "+79990003344"):
        producer.send(ORGANIZATION, hello(to=to))
    assert redis_client.llen(keys.bell("send")) == 2


def test_the_same_key_is_the_same_message_for_any_number_of_threads(
    producer: Producer, redis_client: redis.Redis
) -> None:
    """32 callers at the same moment, one event; another body under the key is refused."""
    known(redis_client)
    barrier, ids = Barrier(32), []

    def call() -> None:
        barrier.wait()
        ids.append(producer.send(ORGANIZATION, hello(), idempotency_key="once").id)

    threads = [Thread(target=call) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 32
    assert len(set(ids)) == 1
    assert redis_client.xlen(keys.OUTBOX) == 1
    with pytest.raises(IdempotencyConflictError):
        producer.send(ORGANIZATION, hello(text="Other"), idempotency_key="once")


def test_keys_of_organizations_do_not_meet(producer: Producer, redis_client: redis.Redis) -> None:
    """Two organizations may use the same key for different messages."""
    other = uuid4()
    known(redis_client)
    known(redis_client, other)
    mine = producer.send(ORGANIZATION, hello(), idempotency_key="1")
    theirs = producer.send(other, hello(text="Other"), idempotency_key="1")
    assert mine.id != theirs.id


def test_a_number_of_another_organization_is_not_found(
    producer: Producer, redis_client: redis.Redis
) -> None:
    """Nothing is enqueued for a number that is known to be somebody else's."""
    theirs = known(redis_client, uuid4())
    with pytest.raises(NotFoundError):
        producer.send(ORGANIZATION, hello(integration_id=theirs.id))
    assert redis_client.xlen(keys.OUTBOX) == 0


def test_without_any_known_number_one_has_to_be_named(producer: Producer) -> None:
    """The error says what to do."""
    with pytest.raises(NotFoundError, match="name one with integration_id"):
        producer.send(ORGANIZATION, hello())
    assert producer.send(ORGANIZATION, hello(integration_id=uuid4())).new


def test_a_restart_of_redis_goes_unnoticed(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """Redis forgets scripts when it restarts; the producer knows them by heart."""
    with Producer.connect(redis_server.url) as producer:
        known(redis_client)
        first = producer.send(ORGANIZATION, hello(), idempotency_key="1")
        redis_server.restart()
        assert producer.send(ORGANIZATION, hello(), idempotency_key="1").id == first.id
        assert producer.send(ORGANIZATION, hello(), idempotency_key="2").new


def ids_of(outcomes: Sequence[SendOutcome]) -> list[UUID]:
    assert all(isinstance(each, Accepted) for each in outcomes), outcomes
    return [each.id for each in outcomes if isinstance(each, Accepted)]


def test_many_messages_keep_their_order(send_many: SendMany, redis_client: redis.Redis) -> None:
    """Over several slices, in many lanes and within one."""
    route = known(redis_client)
    phones = [f"7999{n % 7:07}" for n in range(3 * SLICE + 5)]
    ids = ids_of(send_many(ORGANIZATION, [hello(to=phone) for phone in phones]))
    for phone in set(phones):
        listed: list[bytes] = redis_client.lrange(keys.lane(f"send:{route.id}:{phone}"), 0, -1)  # type: ignore[assignment]
        expected = [str(each) for each, to in zip(ids, phones, strict=True) if to == phone]
        assert [each.decode() for each in listed] == expected
    assert redis_client.xlen(keys.OUTBOX) == len(phones)


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [("Hello", 4 * SLICE, 4), ("x" * (SLICE_CHARS // 5), 11, 3)],
    ids=["short", "long"],
)
def test_many_messages_take_few_round_trips(
    redis_client: redis.Redis, text: str, count: int, expected: int
) -> None:
    """Two for the number, and one for each slice; fewer long texts make a slice."""
    known(redis_client)
    producer = Producer(redis_client)
    producer.send(ORGANIZATION, hello())
    before = redis_client.info("commandstats")
    messages = [hello(text=text, to=f"7999{n:07}") for n in range(count)]
    ids_of(producer.send_many(ORGANIZATION, messages))
    after = redis_client.info("commandstats")
    calls = after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"]
    assert calls == expected


def test_errors_stand_at_their_messages(send_many: SendMany, redis_client: redis.Redis) -> None:
    """Each is what `send` raises; the rest is accepted."""
    known(redis_client)
    theirs = known(redis_client, uuid4())
    disabled = known(redis_client, is_primary=False, is_enabled=False)
    removed = known(redis_client, is_primary=False)
    redis_client.set(keys.removed(removed.id), 1)
    wrong = [
        (hello(integration_id=theirs.id), IntegrationNotFoundError),
        (hello(integration_id=removed.id), IntegrationNotFoundError),
        (hello(integration_id=disabled.id), ValueError),
        (hello(to="555-01-00"), ValueError),
        (hello(to=None, client_id=uuid4()), ValueError),
        (hello(reply_to=uuid4()), ValueError),
        (hello(media=Media(type="document", file_id=uuid4())), ValueError),
    ]
    outcomes = send_many(ORGANIZATION, [*(message for message, _ in wrong), hello()])
    for outcome, (message, kind) in zip(outcomes, wrong, strict=False):
        assert isinstance(outcome, kind), message
        with pytest.raises(kind):
            Producer(redis_client).send(ORGANIZATION, message)
    assert isinstance(outcomes[-1], Accepted)


def test_many_messages_with_keys_are_sent_once(
    send_many: SendMany, redis_client: redis.Redis
) -> None:
    """Also when a key comes twice, or came with a single message; a different message conflicts."""
    known(redis_client)
    single = Producer(redis_client).send(ORGANIZATION, hello(), idempotency_key="a")
    outcomes = send_many(
        ORGANIZATION, [hello(), hello(), hello(), hello(text="Other")], ["a", "b", "b", "a"]
    )
    assert isinstance(outcomes[3], IdempotencyConflictError)
    ids = ids_of(outcomes[:3])
    assert (ids[0], ids[1]) == (single.id, ids[2])
    assert redis_client.xlen(keys.OUTBOX) == 2


def test_as_many_keys_as_messages(send_many: SendMany, redis_client: redis.Redis) -> None:
    known(redis_client)
    with pytest.raises(ValueError, match="2 messages have 1 idempotency keys"):
        send_many(ORGANIZATION, [hello(), hello()], ["a"])
    with pytest.raises(ValueError, match="is empty"):
        send_many(ORGANIZATION, [hello()], [""])
    assert send_many(ORGANIZATION, []) == []
    assert redis_client.xlen(keys.OUTBOX) == 0


def test_what_has_no_room_is_refused_by_itself(redis_client: redis.Redis) -> None:
    """The messages before it are accepted."""
    known(redis_client)
    producer = Producer(redis_client, EngineSettings(wpp_waiting_limit=SLICE + 10))
    outcomes = producer.send_many(ORGANIZATION, [hello(to=f"7999{n:07}") for n in range(2 * SLICE)])
    ids_of(outcomes[: SLICE + 10])
    assert all(isinstance(each, OverloadedError) for each in outcomes[SLICE + 10 :])


def test_after_an_outage_the_rest_is_not_tried(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeated with the same keys, the batch is whole and each message is there once."""
    known(redis_client)
    producer = Producer(redis_client)
    messages = [hello(to=f"7999{n:07}") for n in range(4 * SLICE)]
    names = [f"k{n}" for n in range(len(messages))]
    append, calls = producer._lanes.append_packed, []  # noqa: SLF001 - loses the answer of a slice

    def lose_second(arguments: Sequence[str]) -> list[object]:
        calls.append(len(arguments))
        replies = append(arguments)
        if len(calls) == 2:
            raise redis.ConnectionError
        return replies

    monkeypatch.setattr(producer._lanes, "append_packed", lose_second)  # noqa: SLF001
    outcomes = producer.send_many(ORGANIZATION, messages, names)
    assert len(calls) == 2
    ids_of(outcomes[:SLICE])
    assert all(isinstance(each, redis.ConnectionError) for each in outcomes[SLICE:])
    again = ids_of(producer.send_many(ORGANIZATION, messages, names))
    assert again[:SLICE] == ids_of(outcomes[:SLICE])
    assert redis_client.xlen(keys.OUTBOX) == len(messages)


def test_a_removed_primary_is_replaced_at_once(
    producer: Producer, redis_client: redis.Redis
) -> None:
    """By any number that is enabled; the message that has just left does not keep the old one."""
    primary = known(redis_client)
    known(redis_client, is_primary=False, is_enabled=False)
    other = known(redis_client, is_primary=False)
    for mark, route in ((None, primary), (primary.id, other)):
        if mark:
            redis_client.set(keys.removed(mark), 1)
        record = producer.find(producer.send(ORGANIZATION, hello()).id)
        assert record
        assert record.lane == f"send:{route.id}:79990001122"


def test_the_async_producer_sends_and_finds(
    redis_server: RedisServer, redis_client: redis.Redis
) -> None:
    """As the sync one, with the same ids for the same keys."""
    known(redis_client)

    async def send() -> tuple[Accepted, str | None]:
        async with AsyncProducer.connect(redis_server.url) as producer:
            accepted = await producer.send(ORGANIZATION, hello(), idempotency_key="k")
            record = await producer.find(accepted.id)
            with pytest.raises(ValueError, match="not a phone number"):
                await producer.send(ORGANIZATION, hello(to="555-01-00"))
            return accepted, record.state if record else None

    accepted, state = asyncio.run(send())
    assert (accepted.new, state) == (True, "queued")
    assert Producer(redis_client).send(ORGANIZATION, hello(), "k").id == accepted.id


def test_the_examples_of_the_docs_run(redis_server: RedisServer, redis_client: redis.Redis) -> None:
    """Repeated, they enqueue nothing more."""
    known(redis_client)
    text = (Path(__file__).parents[2] / "docs/sending.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    environment = {"REDIS_URL": redis_server.url, "ORGANIZATION_ID": str(ORGANIZATION)}
    for _ in range(2):
        printed = [
            subprocess.run(
                [sys.executable, "-c", example],
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                check=True,
            ).stdout.splitlines()
            for example in examples
        ]
        assert printed[0][0].endswith("queued")
        assert printed[0][-1].startswith("555-01-00 not a phone number")
        assert printed[1] == ["200 accepted"]
    assert redis_client.xlen(keys.OUTBOX) == 203

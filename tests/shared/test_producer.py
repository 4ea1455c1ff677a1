"""The producer: what another service gets from nothing but Redis."""

from threading import Barrier, Thread
from uuid import UUID, uuid4

import pytest
import redis

from sandbox.redis import RedisServer
from shared.errors import IdempotencyConflictError, NotFoundError
from shared.events import Message
from shared.producer import Producer
from shared.redis import keys
from shared.route_cache import IntegrationRoute, RouteCache

ORGANIZATION = uuid4()


@pytest.fixture
def producer(redis_client: redis.Redis) -> Producer:
    return Producer(redis_client)


def known(client: redis.Redis, organization_id: UUID = ORGANIZATION) -> IntegrationRoute:
    route = IntegrationRoute(
        id=uuid4(),
        organization_id=organization_id,
        name="Shop",
        account="42",
        is_primary=True,
        is_enabled=True,
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

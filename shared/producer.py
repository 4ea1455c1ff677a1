"""What another service imports to enqueue. It needs Redis, and nothing else.

producer = Producer.connect("redis://…")
message = Message(to="+79990001122", text="Hello")
accepted = producer.send(organization_id, message, idempotency_key="order-17")
producer.find(accepted.id)  # where it is
"""

from typing import Self
from uuid import UUID

import redis
from pydantic import SecretStr

from shared import routing
from shared.errors import IntegrationNotFoundError, NotFoundError
from shared.event_ids import EventIds
from shared.events import Message
from shared.lanes import records
from shared.lanes.client import Lanes
from shared.lanes.records import Record
from shared.lanes.types import Accepted, Append
from shared.phones import DEFAULT_REGION
from shared.redis import connect, keys
from shared.route_cache import RouteCache
from shared.settings import EngineSettings


class Producer:
    def __init__(self, client: "redis.Redis", settings: EngineSettings | None = None) -> None:
        self._client = client
        self._lanes = Lanes(client, settings or EngineSettings())
        self._route_cache = RouteCache(client, database=None)
        self._event_ids: EventIds | None = None

    @classmethod
    def connect(cls, url: SecretStr | str) -> "Producer":
        """Return a producer on the Redis at `url`; threads may share it. It connects when used."""
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
        same message. Without `integration_id` it leaves from the organization's primary number, as
        far as Redis knows it.

        Raises:
            NotFoundError: no such number in this organization, or none is known here: name one.
            IdempotencyConflictError: the key was used for a different message.
            OverloadedError: too much is waiting; try again later.
            ValueError: the key is empty, or the recipient is no phone in the organization's region.
            redis.RedisError: Redis did not confirm.
        """
        event_id = self._make_id(organization_id, idempotency_key)
        integration_id, region = self._number(organization_id, message)
        return self.append(
            routing.route_send(organization_id, integration_id, message, event_id, region)
        )

    def find(self, event_id: UUID) -> Record | None:
        """Return what became of an event, or None when it is not known (any more)."""
        return records.find_record(self._client, event_id)

    def append(self, item: Append) -> Accepted:
        """Put an event into its lane, which wakes a worker, in one round trip."""
        return self._lanes.append(item)

    def _make_id(self, organization_id: UUID, idempotency_key: str | None) -> UUID | None:
        if idempotency_key is None:
            return None
        if self._event_ids is None:
            self._event_ids = EventIds.load(self._client)
        previous = self._event_ids.make_previous(organization_id, idempotency_key)
        if previous and self._client.exists(keys.event(previous)):
            return previous
        return self._event_ids.make(organization_id, idempotency_key)

    def _number(self, organization_id: UUID, message: Message) -> tuple[UUID, str]:
        """Return the integration to send from, and its organization's region."""
        route = (
            self._route_cache.find_route(message.integration_id)
            if message.integration_id
            else self._route_cache.find_primary_route(organization_id)
        )
        if route and route.organization_id != organization_id:
            raise IntegrationNotFoundError(route.id)
        if route:
            return route.id, route.region
        if (
            message.integration_id
        ):  # not known here: the worker looks it up, and refuses another organization's
            return message.integration_id, DEFAULT_REGION
        msg = "no number of this organization is known here yet: name one with integration_id"
        raise NotFoundError(msg)

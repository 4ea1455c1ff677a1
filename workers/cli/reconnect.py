"""Reconnects: registers webhooks again and starts accounts, for `wpp reconnect`."""

import time
from collections.abc import Callable, Iterable
from uuid import UUID, uuid4

from shared import routing
from shared.database import Integration
from shared.events import ProvisionEvent
from shared.producer import Producer


def enqueue_reconnects(
    integrations: Iterable[Integration],
    find_producer: Callable[[UUID], Producer],
    per_second: float = 5,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Enqueue a connect for each enabled integration with an account; return their number.

    `find_producer` returns the producer for an organization.

    Raises:
        OverloadedError: the backlog is full; the connects before that are enqueued.
        redis.RedisError: Redis did not confirm a connect.
    """
    count = 0
    for integration in integrations:
        if not integration.account or not integration.is_enabled:
            continue
        event = ProvisionEvent(
            id=uuid4(),
            organization_id=integration.organization_id,
            integration_id=integration.id,
        )
        find_producer(integration.organization_id).append(routing.route_provision(event))
        count += 1
        sleep(1 / per_second)
    return count

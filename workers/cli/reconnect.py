"""Every number anew: its webhook registered at the address of today, its account started. A linked phone stays linked.

For numbers that come from elsewhere, and after a change of `WPP_KEY_SECRETS` or `WPP_PUBLIC_URL`.
"""

import time
from collections.abc import Callable, Iterable
from uuid import uuid4

from shared import routing
from shared.database import Integration
from shared.events import ProvisionEvent
from shared.producer import Producer


def reconnect(
    numbers: Iterable[Integration],
    producer: Producer,
    per_second: float = 5,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Queue it for each number that is switched on and has an account, so many a second; return how many.

    Raises:
        OverloadedError: too much is waiting; those before it are queued.
        redis.RedisError: Redis did not confirm.
    """
    count = 0
    for number in numbers:
        if not number.account or not number.is_enabled:
            continue
        event = ProvisionEvent(
            id=uuid4(), organization_id=number.organization_id, integration_id=number.id
        )
        producer.append(routing.route_provision(event))
        count += 1
        sleep(1 / per_second)
    return count

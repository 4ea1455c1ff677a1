"""What the page Overview shows."""

import redis

from shared.redis import keys
from tests.workers.ingress.console.conftest import SignedIn


def test_the_state_of_the_whole(operator: SignedIn, redis_client: redis.Redis) -> None:
    """What waits, what is held, what the clock measured: of all organizations."""
    redis_client.hset(keys.waiting("send"), "00000000-0000-4000-8000-000000000001", 3)
    redis_client.hset(keys.GAUGES, mapping={"oldest|send": 61.5, "dead": 2})
    redis_client.hset(keys.NUMBER_STATES, "42", "1 disconnected down")
    found = operator.get("overview")
    assert found["state"]["waiting"]["send"] == 3
    assert "clock: no process runs" in found["state"]["faults"]
    assert (found["oldest"]["send"], found["dead_letters"]) == (61.5, 2)
    assert found["numbers"] == {"disconnected": 1}

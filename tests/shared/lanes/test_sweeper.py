"""The sweeper looks at all of its queues in one step: an idle clock costs a command a second."""

from typing import Any
from uuid import uuid4

import redis

from shared.lanes.client import Lanes
from shared.lanes.sweeper import TICK_S, Sweeper
from shared.lanes.types import Append
from shared.redis import keys
from shared.settings import EngineSettings


def count_scripts(client: redis.Redis) -> int:
    found: Any = client.info("commandstats")
    return int(found["cmdstat_evalsha"]["calls"])


def test_a_tick_is_one_script_for_all_queues(redis_client: redis.Redis) -> None:
    """It rings for each queue whose bell was lost; a queue without events costs nothing more."""
    lanes = Lanes(redis_client, EngineSettings())
    queues = ("send", "webhook", "media")
    sweeper = Sweeper(lanes, queues)
    sweeper.tick()  # the script is loaded
    for queue in queues[:2]:
        lanes.append(Append(uuid4(), queue, lane=queue, tenant="anna", body="{}"))
        redis_client.delete(keys.bell(queue))
    before = count_scripts(redis_client)
    assert sweeper.tick() == TICK_S
    assert count_scripts(redis_client) == before + 1
    assert [redis_client.llen(keys.bell(queue)) for queue in queues] == [1, 1, 0]

"""Wake-ups: Dramatiq messages that say "some lane of this kind is ready", and nothing else.

Which lane it is, is decided when a worker has time for it, so a wake-up may be lost, doubled or late without harm:
the clock repeats it. No more of them wait than threads could follow at once; each drains until nothing is ready.
Threads that have just been busy stay for a moment, and are called without one (`lanes.lua`, `workers/runner.py`).
"""

from typing import Any

import redis
from redis.exceptions import NoScriptError

from shared.broker import enqueue_on, load_scripts, wake_up
from shared.events import QueueName
from shared.lanes.client import PREFIX

AT_MOST = 256


def wake_on(pipe: Any, kind: QueueName) -> None:
    """Add a wake-up to a pipeline, sync or async, behind an append: for the lane that it made ready, if it did.

    None is sent where a thread that is awake was called for that lane (`lanes.lua`).
    """
    enqueue_on(pipe, wake_up(kind), unless_depth=AT_MOST, wanted=f"{PREFIX}wanted:{kind}")


def wake(client: "redis.Redis", kind: QueueName, times: int = 1, at_most: int = AT_MOST) -> None:
    """Send wake-ups now, until `at_most` of them wait for a thread; raises redis.RedisError."""
    try:
        _wake(client, kind, times, at_most)
    except NoScriptError:  # Redis has been restarted: it knows scripts only by heart
        load_scripts(client)
        _wake(client, kind, times, at_most)


def _wake(client: "redis.Redis", kind: QueueName, times: int, at_most: int) -> None:
    pipe = client.pipeline(transaction=False)
    for _ in range(min(times, at_most, AT_MOST)):
        enqueue_on(pipe, wake_up(kind), unless_depth=min(at_most, AT_MOST))
    pipe.execute()

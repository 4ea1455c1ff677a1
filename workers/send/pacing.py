"""Pacing: what one number sends, spread over time. WhatsApp bans numbers that write to many people at once.

A message whose turn has come gets the number's next slot and waits for it in its lane, which costs one more claim. So
conversations leave in the order in which they were first taken up, and none stands before the others. Who misses
a slot, because the platform was away for instance, gets another: what waited does not leave all at once.
"""

import random

import redis

from shared.events import SendEvent
from shared.redis import keys
from shared.redis.scripts import LuaScript

SCRIPT = LuaScript.from_package("workers.send", "pacing.lua")
LATE_S = 5.0
"""How late a message may come for its slot: the clock wakes lanes within a second."""


def wait_s(client: "redis.Redis", event: SendEvent, pace_s: float) -> float:
    """Return how long this message has to wait yet. The next one comes `pace_s` after it, give or take half of it."""
    pause_s = pace_s * random.uniform(0.5, 1.5)  # noqa: S311 - people don't type like clocks
    wait_ms = SCRIPT.run(
        client,
        [keys.pace(event.integration_id), keys.pace_slot(event.id)],
        [max(1, int(pause_s * 1000)), int(LATE_S * 1000)],
    )
    return float(wait_ms / 1000)

"""Pacing: spreads the messages of an integration over time.

WhatsApp bans numbers that write to many people at once. A message at the head of its lane takes the
integration's next slot and waits for it in the lane, which costs a second claim. Conversations thus
send in the order in which they took their slots. A message that misses its slot, during an outage
for instance, takes another: a backlog does not leave all at once.
"""

import random

import redis

from shared.events import SendEvent
from shared.lanes.scripts import load_with_clock
from shared.redis import keys

SCRIPT = load_with_clock("workers.send", "pacing.lua")

SLOT_GRACE_S = 5.0
"""How late a message may come for its slot; the clock wakes lanes within a second."""


def take_slot(
    client: "redis.Redis", event: SendEvent, pace_s: float, grace_s: float = SLOT_GRACE_S
) -> float:
    """Return the seconds until the slot of this message; 0: send it now.

    The slot after it follows `pace_s` later, plus or minus half of that. With a `pace_s` of 0,
    messages are not paced.
    """
    if not pace_s:
        return 0.0
    pause_s = pace_s * random.uniform(0.5, 1.5)  # noqa: S311 - even intervals look like a machine
    wait_ms = SCRIPT.run(
        client,
        [keys.pace(event.integration_id), keys.pace_slot(event.id), keys.LANE_CLOCK],
        [max(1, int(pause_s * 1000)), int(grace_s * 1000)],
    )
    return float(wait_ms / 1000)

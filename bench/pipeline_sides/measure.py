"""A load through a side: CPU by kind of process, rate, stages, and what went wrong."""

import os
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from uuid import uuid4

from bench.engine_sides.figures import percentile
from bench.engine_sides.place import wait_until
from bench.pipeline_sides.lives import STAGES, count_faults, count_overtaken, match
from bench.pipeline_sides.load import Task
from bench.pipeline_sides.sides import Side
from bench.pipeline_sides.uses import read_uses
from bench.pipeline_sides.world import send

PEERS = 5
WITHIN_S = 300.0
RETRIES_WITHIN_S = 90.0
COUNTERS_LATE_S = 1.2
"""Postgres publishes the counters of a connection once a second."""
LATE_S = 0.05
"""After which the platform answers."""


@dataclass(frozen=True)
class Load:
    """`per_s`: messages a second, 0 for all at once."""

    name: str
    messages: int
    per_s: float = 0.0


@dataclass(frozen=True)
class Result:
    """`cpu_ms`: of a life-cycle, by kind of process. `stages`: p50 and p99 in ms.

    `uses`: what a life-cycle uses besides CPU. `wrong`: how many messages have a fault.
    """

    messages: int
    cpu_ms: dict[str, float]
    per_s: float
    stages: dict[str, tuple[float, float]]
    uses: dict[str, float]
    faults: Counter[str]
    wrong: int
    load: float = field(default_factory=lambda: os.getloadavg()[0])


def measure(side: Side, load: Load) -> Result:
    """Send the messages of a load; wait until nothing is left to do."""
    world, label = side.world, uuid4().hex[:8]
    world.plan(side.hooks(), LATE_S)
    task = Task(side.messages_url, side.senders, label, load.messages, PEERS, load.per_s)
    uses_before = read_uses(side.place.redis, world)
    before = _cpu_s(side)
    sent = send(task)
    if not wait_until(lambda: _is_done(side), WITHIN_S, 0.1):
        print(f"{side.name}, {load.name}: not done after {WITHIN_S:.0f} s", flush=True)
    used = {name: seconds - before[name] for name, seconds in _cpu_s(side).items()}
    wait_until(lambda: _is_done(side) and not side.retries(), RETRIES_WITHIN_S, 0.5)
    time.sleep(COUNTERS_LATE_S)
    uses = read_uses(side.place.redis, world)
    lives = match(sent, world.ledger()["messages"], world.rows(side.organizations, label))
    times: dict[str, list[float]] = defaultdict(list)
    for life in lives:
        for stage, ms in life.stages_ms(LATE_S).items():
            times[stage].append(ms)
    ended = [row.reached["read"] for life in lives for row in life.rows if "read" in row.reached]
    took_s = percentile(ended, 0.95) - min(each.began for each in sent)
    return Result(
        load.messages,
        {name: 1000 * seconds / load.messages for name, seconds in used.items()},
        0.95 * load.messages / took_s,
        {
            stage: (percentile(times[stage], 0.5), percentile(times[stage], 0.99))
            for stage in STAGES
            if times[stage]
        },
        {name: (uses[name] - uses_before[name]) / load.messages for name in uses},
        count_faults(lives),
        sum(bool(life.find_faults()) for life in lives) + count_overtaken(lives),
    )


def _cpu_s(side: Side) -> dict[str, float]:
    return side.place.cpu_by_name() | side.world.cpu_by_name()


def _is_done(side: Side) -> bool:
    """Return whether the platform has no acks left and the side no work, twice in a row."""
    for _ in range(2):
        if side.world.ledger()["pending"] or side.busy():
            return False
        time.sleep(0.1)
    return True

"""A model of how many messages a second a fleet sends: `docs/capacity.md` explains it.

A message holds a thread while the platform answers, and takes CPU of its send process, of Redis and
of the processes beside. Whatever is used up first is the limit.
"""

import math
from dataclasses import dataclass

SHARE = 0.9
"""Of a core or of a thread that can be used before waits grow: the rest is lost to scheduling."""


@dataclass(frozen=True)
class Costs:
    """Of a message, in seconds of CPU. `held_s`: how long a thread has it besides the platform."""

    send_s: float
    redis_s: float
    beside_s: float
    held_s: float

    @property
    def all_s(self) -> float:
        return self.send_s + self.redis_s + self.beside_s


@dataclass(frozen=True)
class Fleet:
    """Send processes of `threads` each on `cores`, before a platform that answers after a time."""

    processes: int
    threads: int
    cores: float
    answer_s: float


def limits(fleet: Fleet, costs: Costs) -> dict[str, float]:
    """Return messages a second that each resource allows."""
    return {
        "threads": fleet.processes * fleet.threads / (fleet.answer_s + costs.held_s),
        "send processes": SHARE * fleet.processes / costs.send_s,  # a core each: one interpreter
        "Redis": SHARE / costs.redis_s,  # one thread
        "cores": SHARE * fleet.cores / costs.all_s,
    }


def predict_rate(fleet: Fleet, costs: Costs) -> float:
    """Return messages a second at full load."""
    return min(limits(fleet, costs).values())


def find_bottleneck(fleet: Fleet, costs: Costs) -> str:
    """Return what is used up first."""
    found = limits(fleet, costs)
    return min(found, key=found.__getitem__)


def predict_wait_s(fleet: Fleet, costs: Costs, per_s: float, share: float) -> float:
    """Return how long this share of messages waits at most for a thread (Erlang C).

    Answers take the same time each, which halves the waits of the formula.
    """
    servers = fleet.processes * fleet.threads
    busy = per_s * (fleet.answer_s + costs.held_s)
    if busy >= servers:
        return math.inf
    must_wait = _erlang_c(servers, busy)
    if must_wait <= 1 - share:
        return 0.0
    drain = (servers - busy) / (fleet.answer_s + costs.held_s)
    return math.log(must_wait / (1 - share)) / drain / 2


def _erlang_c(servers: int, busy: float) -> float:
    """Return the share of arrivals that find all servers busy."""
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = busy * blocked / (number + busy * blocked)
    return blocked / (1 - busy / servers * (1 - blocked))

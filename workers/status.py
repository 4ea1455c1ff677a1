"""The state of the whole, as `wpp status`, `wpp lanes` and the console show it.

Only indexes are read: what waits costs as much as what does not.
"""

from collections import Counter
from collections.abc import Mapping
from functools import reduce
from typing import Any

import redis

from shared import processes
from shared.database import Database, DeadLetterQuery, Integration
from shared.events import QUEUE_NAMES
from shared.lanes.records import count_scheduled, count_unknown, total_waiting
from shared.outbox import Outbox, count_left
from shared.redis import explain_outage, keys
from workers.send.paced_numbers import USED_UP, budgets_left, list_paced

DOWN = ("disconnected", "error")


def read_state(client: "redis.Redis") -> dict[str, Any]:
    """Return what Redis tells about the pipeline; raises redis.RedisError."""
    waiting = total_waiting(client, QUEUE_NAMES)
    outbox = Outbox(client)
    faults = processes.find_faults(client)
    if outbox.blocked_reason:
        faults.append(f"Supabase takes no outcomes: {outbox.blocked_reason}")
    return {
        "faults": faults,
        "waiting": {kind: sum(tenants.values()) for kind, tenants in waiting.items()},
        "scheduled": count_scheduled(client),
        "gates": find_gates(client),
        "paced": read_paced(client),
        "awaiting_newer": {kind: count for kind, count in count_left(client).items() if count},
        "unknown": count_unknown(client),
        "outbox": {"outcomes": len(outbox), "oldest_s": outbox.age_s()},
    }


def read_shards(clients: "Mapping[str, redis.Redis]") -> dict[str, Any]:
    """Return what the Redis of each shard tells, as one; a shard that does not answer is a fault.

    Raises:
        redis.RedisError: none of them answers.
    """
    states: list[dict[str, Any]] = []
    away: list[str] = []
    failure: redis.RedisError | None = None
    for name, client in clients.items():
        try:
            state = read_state(client)
        except redis.RedisError as error:
            failure = error
            away.append(f"shard {name}: {explain_outage(error)}")
            continue
        if name:
            state["faults"] = [f"shard {name}: {fault}" for fault in state["faults"]]
        states.append(state)
    if failure and not states:
        raise failure
    found = reduce(_add, states)
    ages = [age for state in states if (age := state["outbox"]["oldest_s"]) is not None]
    found["outbox"]["oldest_s"] = max(ages, default=None)
    return found | {"faults": [*away, *found["faults"]]}


def _add(one: Any, other: Any) -> Any:
    """Return the sum of two states: of numbers, of lists, of what has the same name."""
    if isinstance(one, dict):
        names = dict.fromkeys((*one, *other))
        return {name: _add(one.get(name), other.get(name)) for name in names}
    if one is None or other is None:
        return other if one is None else one
    return one + other


def read_supabase(database: Database) -> dict[str, Any]:
    """Return the numbers by state, those that are down, and the count of dead letters."""
    numbers = [each for each in database.integrations.iterate() if each.account]
    return {
        "numbers": dict(Counter(each.status for each in numbers)),
        "numbers_down": [describe_number(each) for each in numbers if each.status in DOWN],
        "dead_letters": database.dead_letters.count(DeadLetterQuery()),
    }


def describe_number(number: Integration) -> dict[str, Any]:
    """Return what an operator wants to know of a number."""
    return {
        "id": number.id,
        "organization_id": number.organization_id,
        "account": number.account,
        "phone": number.phone,
        "name": number.name,
        "status": number.status,
        "since": number.status_at,
        "reason": number.status_reason,
        "error": number.last_error,
        "enabled": number.is_enabled,
        "primary": number.is_primary,
    }


def find_gates(client: "redis.Redis") -> list[dict[str, Any]]:
    """Return the closed gates: why, for how long at most, and how many lanes they hold."""
    stored: Any = client.zrange(keys.GATE_ENDS, 0, -1)
    names = [name.decode() for name in stored]
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.get(keys.gate(name))
        pipe.pttl(keys.gate(name))
        pipe.scard(keys.gated_lanes(name))
    replies = iter(pipe.execute())
    return [
        {"gate": name, "lanes": lanes, "left_s": left_ms / 1000, "reason": reason.decode()}
        for name, reason, left_ms, lanes in zip(names, replies, replies, replies, strict=False)
        if reason and left_ms > 0
    ]


def read_paced(client: "redis.Redis") -> dict[str, Any]:
    """Return the numbers with messages that wait their turn, and those with a budget used up."""
    numbers = [
        {"integration_id": each.integration_id, "waiting": each.waiting, "for_s": each.last_turn_s}
        for each in list_paced(client)
    ]
    used_up = [number for number, left in budgets_left(client).items() if left == USED_UP]
    return {"numbers": numbers, "warm_up_used_up": used_up}

"""The page Overview: whether all works, and what waits."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import redis
from fastapi import APIRouter

from shared.events import QUEUE_NAMES
from shared.number_states import NumberStates
from shared.redis import keys
from workers.ingress.console.access import OperatorDep
from workers.ingress.deps import StateDep
from workers.status import read_shards

router = APIRouter(prefix="/console/data/overview", include_in_schema=False)


@router.get("")
def get_overview(operator: OperatorDep, state: StateDep) -> dict[str, Any]:
    """Return the state of the whole. It reads Redis only: it answers while Supabase is away.

    A shard that does not answer is a fault of the state, and left out of the rest.
    """
    del operator  # asked for because it has to be signed in
    answering = state.clients.list_answering()
    return {
        "state": read_shards(state.clients.by_name),
        "numbers": dict(sum((NumberStates(each).count() for each in answering), Counter())),
        **read_all_gauges(answering),
    }


def read_all_gauges(clients: "Sequence[redis.Redis]") -> dict[str, Any]:
    """Return the highest of each gauge: the oldest event of all shards, and all dead letters."""
    found = [read_gauges(each) for each in clients]
    oldest = {kind: max(each["oldest"][kind] for each in found) for kind in QUEUE_NAMES}
    return {"oldest": oldest, "dead_letters": max(each["dead_letters"] for each in found)}


def read_gauges(client: "redis.Redis") -> dict[str, Any]:
    """Return what the clock measured last: ages by kind in seconds, and dead letters."""
    stored: Any = client.hgetall(keys.GAUGES)
    found = {name.decode(): float(value) for name, value in stored.items()}
    return {
        "oldest": {kind: found.get(f"oldest|{kind}", 0.0) for kind in QUEUE_NAMES},
        "dead_letters": int(found.get("dead", 0)),
    }

"""The state of the whole, read from indexes."""

import redis

from shared.lanes.client import Lanes
from shared.redis import keys
from shared.settings import EngineSettings
from workers.status import find_gates, read_state


def test_gates_that_have_opened_are_left_out(redis_client: redis.Redis) -> None:
    """`gate_ends` lists them until it is pruned."""
    lanes = Lanes(redis_client, EngineSettings())
    lanes.close_gate("platform", 60, "the platform fails")
    lanes.close_gate("integration:1", 60, "the key is refused")
    lanes.open_gate("integration:1")
    redis_client.zadd(keys.GATE_ENDS, {"integration:2": 1})
    (gate,) = find_gates(redis_client)
    assert (gate["gate"], gate["reason"], gate["lanes"]) == ("platform", "the platform fails", 0)
    assert 0 < gate["left_s"] <= 60
    assert read_state(redis_client)["gates"][0]["gate"] == "platform"


def test_an_empty_pipeline_waits_for_nothing(redis_client: redis.Redis) -> None:
    """Its faults are the processes that do not run."""
    state = read_state(redis_client)
    assert not any(state["waiting"].values())
    assert (state["unknown"], state["outbox"]["outcomes"], state["gates"]) == (0, 0, [])
    assert all("no process runs" in fault for fault in state["faults"])

"""`wpp pacing` shows and changes how fast numbers may write; `wpp status` says what waits."""

import json
from uuid import uuid4

import redis

from shared.redis import keys
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import InboundPipeline
from tests.workers.cli.test_recovery import Wpp, run_failing, wpp
from tests.workers.send.test_pacing import advance

__all__ = ["pipeline", "wpp"]


def test_pacing_is_shown_and_changed(wpp: Wpp, pipeline: InboundPipeline) -> None:
    """For all numbers of an organization, for one, and back to the default."""
    organization, number = pipeline.organization, pipeline.integration
    shown = wpp("pacing", organization, "--per-minute", 20, "--warm-up", "20,40")
    assert "PER MINUTE" in shown
    assert "20,40" in shown
    wpp("pacing", organization, "--number", number, "--per-minute", 5)
    rows = json.loads(wpp("pacing", organization, "--json"))
    assert [(row["number"], row["per_minute"], row["warm_up"]) for row in rows] == [
        ("all", 20, [20, 40]),
        (str(number), 5, [20, 40]),
    ]
    wpp("pacing", organization, "--number", number, "--default")
    wpp("pacing", organization, "--default", "--burst", 3)
    rows = json.loads(wpp("pacing", organization, "--json"))
    assert {(row["per_minute"], row["burst"]) for row in rows} == {(0, 3)}


def test_a_mistake_is_told(wpp: Wpp, pipeline: InboundPipeline) -> None:
    """The option with its fault; the id that does not exist."""
    del wpp
    failed = run_failing("pacing", pipeline.organization, "--per-minute", "-1", "--warm-up", "x")
    assert "--per-minute: Input should be greater than or equal to 0" in failed
    assert "--warm-up" in failed
    unknown = uuid4()
    assert str(unknown) in run_failing("pacing", unknown)
    assert str(unknown) in run_failing("pacing", unknown, "--burst", 1)
    failed = run_failing("pacing", pipeline.organization, "--number", unknown, "--burst", 1)
    assert str(unknown) in failed


def test_status_and_lanes_tell_what_is_paced(
    wpp: Wpp, pipeline: InboundPipeline, redis_client: redis.Redis
) -> None:
    number = str(pipeline.integration)
    advance(redis_client, 0)
    now = int(redis_client.hget(keys.LANE_CLOCK, "lanes") or 0)
    redis_client.zadd(keys.PACED, {number: now + 600_000})
    redis_client.zadd(keys.pace_turns(number), {"a": now + 500_000, "b": now + 600_000})
    redis_client.hset(keys.WARM_UP_LEFT, number, "-1")
    told = "2 messages of 1 numbers wait their turn, for up to 10 min; 1 new numbers wrote"
    assert told in wpp("lanes")
    paced = json.loads(wpp("lanes", "--json"))["paced"]
    assert [each["waiting"] for each in paced["numbers"]] == [2]

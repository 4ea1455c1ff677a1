"""The clock adds each minute once, with what all processes counted and what waits."""

from collections.abc import Iterator
from threading import Event as Flag
from uuid import uuid4

import pytest
import redis

from shared import activity, metrics, routing
from shared.activity import MAX_ORGANIZATIONS, MINUTE_MS, Activity, Totals
from shared.events import Message
from shared.lanes.client import Lanes
from shared.redis import keys
from shared.settings import EngineSettings
from tests.fixtures.waiting import wait_until
from workers.clock.gauges import Ages, find_ages
from workers.clock.minutes import GRACE_MS, choose_organizations, run_minutes, write_minute

ORGANIZATION, INTEGRATION = uuid4(), uuid4()
END_MS = 30_000_000 * MINUTE_MS


@pytest.fixture(autouse=True)
def _nothing_pending(redis_client: redis.Redis) -> Iterator[None]:
    """Earlier tests of this process may have counted."""
    metrics.flush(redis_client)
    activity.flush(redis_client, 0)
    redis_client.delete(keys.METRICS)
    yield
    metrics.flush(redis_client)
    activity.flush(redis_client, 0)


def test_a_minute_has_counts_and_what_waits(redis_client: redis.Redis) -> None:
    item = routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990001121", text="Hello"))
    Lanes(redis_client, EngineSettings()).append(item)
    for event in ("message.accepted", "message.sent", "message.expired"):
        fields = {"organization_id": str(ORGANIZATION)}
        metrics.count_transition(event, fields)
        activity.count_transition(event, fields)
    metrics.observe("wpp_webhook_handled_seconds", 0.2)
    metrics.observe("wpp_webhook_handled_seconds", 7)
    metrics.count("wpp_callback_posts_total", "delivered")
    metrics.count("wpp_callback_posts_total", "failed")
    metrics.flush(redis_client)
    activity.flush(redis_client, END_MS - 1)
    ages = find_ages(redis_client)
    ages["send"][str(ORGANIZATION)] = 12.4
    assert write_minute(redis_client, ages, END_MS + GRACE_MS) == 60
    (found,) = activity.read_minutes(redis_client)
    assert found.at_ms == END_MS
    assert found.totals["send"] == Totals(accepted=1, done=1, failed=1, unknown=0)
    assert (found.totals["webhook"].done, found.totals["callback"].done) == (2, 1)
    assert found.totals["media"].done is None
    assert (found.waiting["send"], found.oldest_s["send"]) == (1, 12)
    mine = Activity(accepted=1, sent=1, failed=1, waiting=1, oldest_s=12)
    assert found.organizations == {str(ORGANIZATION): mine}
    assert found.others == Activity()


def test_a_minute_is_added_once_after_its_grace(redis_client: redis.Redis) -> None:
    """By two clocks, and by the one that takes over: no minute twice, and none before its end."""
    for at_ms in (END_MS, END_MS + 1, END_MS + GRACE_MS - 1):
        write_minute(redis_client, {}, at_ms)
    assert activity.find_last(redis_client) == END_MS - MINUTE_MS
    assert write_minute(redis_client, {}, END_MS + GRACE_MS + 500) == 59.5
    assert write_minute(redis_client, {}, END_MS + GRACE_MS + 20_000) == 40
    write_minute(redis_client, {}, END_MS + 5 * MINUTE_MS + GRACE_MS)
    found = [minute.at_ms for minute in activity.read_minutes(redis_client)]
    assert found == [END_MS - MINUTE_MS, END_MS, END_MS + 5 * MINUTE_MS]


def test_a_minute_that_is_there_costs_one_command(redis_client: redis.Redis) -> None:
    write_minute(redis_client, {}, END_MS + GRACE_MS)
    before = redis_client.info("stats")["total_commands_processed"]
    write_minute(redis_client, {}, END_MS + GRACE_MS)
    assert redis_client.info("stats")["total_commands_processed"] - before <= 2


def test_a_minute_costs_a_few_commands(redis_client: redis.Redis) -> None:
    """However many organizations there are."""
    redis_client.hset(keys.waiting("send"), mapping={str(uuid4()): 1 for _ in range(500)})
    before = redis_client.info("stats")["total_commands_processed"]
    write_minute(redis_client, {}, END_MS + GRACE_MS)
    assert redis_client.info("stats")["total_commands_processed"] - before <= 12


def test_the_busiest_are_named_and_the_rest_is_together() -> None:
    counts = {f"busy {each}": Activity(sent=each + 10) for each in range(MAX_ORGANIZATIONS - 1)}
    waiting = {"waits": 500} | {f"calm {each}": 1 for each in range(7)}
    named, others = choose_organizations(counts, waiting, {"waits": 90.6, "calm 3": 5.0})
    assert len(named) == MAX_ORGANIZATIONS
    assert named["waits"] == Activity(waiting=500, oldest_s=91)
    assert others == Activity(waiting=7, oldest_s=5)


def test_it_goes_on_by_itself(redis_client: redis.Redis) -> None:
    stopping = Flag()
    stopping.set()
    ages: Ages = {}
    run_minutes(redis_client, ages, stopping)
    wait_until(lambda: activity.read_minutes(redis_client), "the first minute")
    with redis.Redis.from_url("redis://127.0.0.1:9/0") as away:
        run_minutes(away, ages, stopping)

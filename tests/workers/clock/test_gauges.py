"""The clock measures the oldest event of each kind, and counts unknown messages."""

from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

import psycopg
import redis
from structlog.testing import capture_logs

from sandbox.supabase.project import Supabase
from shared import routing
from shared.events import Message
from shared.lanes.client import Lanes
from shared.lanes.records import count_unknown
from shared.lanes.types import ClaimSequence, Postponed, Settled
from shared.redis import keys
from shared.settings import EngineSettings
from tests.workers.ingress.tenants import database as open_database
from tests.workers.send.test_pacing import Number, advance, message_to
from workers.clock.gauges import (
    NewerWatch,
    find_ages,
    find_oldest,
    measure_pacing,
    name_callback_gauges,
    tell_unpaced,
)
from workers.context import WorkerContext

ORGANIZATION, INTEGRATION = uuid4(), uuid4()


def accept(client: redis.Redis, lanes: Lanes, peer: str, age_s: int) -> None:
    item = routing.route_send(ORGANIZATION, INTEGRATION, Message(to=peer, text="Hello"))
    lanes.append(item)
    accepted = int(client.hget(keys.event(item.id), "accepted") or 0)
    client.hset(keys.event(item.id), "accepted", accepted - age_s * 1000)


def test_the_oldest_event_in_every_place(redis_client: redis.Redis) -> None:
    """Ready, claimed and postponed lanes count."""
    lanes = Lanes(redis_client, EngineSettings())
    assert find_oldest(find_ages(redis_client))["send"] == 0
    accept(redis_client, lanes, "+79990001121", 100)
    assert 100 <= find_oldest(find_ages(redis_client))["send"] < 190
    accept(redis_client, lanes, "+79990001122", 200)
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    assert 200 <= find_oldest(find_ages(redis_client))["send"] < 290
    lanes.conclude(claim, Postponed(60, "later"))
    assert 200 <= find_oldest(find_ages(redis_client))["send"] < 290
    assert find_oldest(find_ages(redis_client))["webhook"] == 0
    assert list(find_ages(redis_client)["send"]) == [str(ORGANIZATION)]


def test_a_paced_message_waits_from_its_turn_on(redis_client: redis.Redis) -> None:
    """Until then its pacing holds it back, and more workers would not help."""
    lanes = Lanes(redis_client, EngineSettings())
    number = Number(redis_client, per_minute=0.1, burst=1, jitter=0)
    number.know(0, 1)
    assert not number.take(message_to(0))
    turn = number.take(message_to(1))
    assert turn
    accept(redis_client, lanes, "+79990001121", 5000)
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    lanes.conclude(claim, turn)
    assert find_oldest(find_ages(redis_client))["send"] == 0
    redis_client.hincrby(keys.event(claim.id), "earliest", -int(turn.delay_s + 100) * 1000)
    assert 90 <= find_oldest(find_ages(redis_client))["send"] < 190


def test_unknown_messages_are_counted(redis_client: redis.Redis) -> None:
    lanes = Lanes(redis_client, EngineSettings())
    for peer in ("+79990001121", "+79990001122"):
        accept(redis_client, lanes, peer, 0)
        claim = lanes.claim("send", ClaimSequence())
        assert claim
        lanes.conclude(claim, Settled("unknown"))
    assert count_unknown(redis_client) == 2


def test_paced_messages_are_counted_and_their_end_is_told_once(redis_client: redis.Redis) -> None:
    number = Number(redis_client, datetime.now(UTC), per_minute=1, burst=2, warm_up=[2])
    for each in range(4):
        number.take(message_to(each))
    assert measure_pacing(redis_client) == {
        "paced|numbers": 1,
        "paced|messages": 1,
        "warm_up|left": 0,
        "warm_up|used_up": 1,
    }
    ctx = cast("WorkerContext", number.ctx)
    advance(redis_client, 600)
    with capture_logs() as logs:
        tell_unpaced(redis_client, ctx)
        tell_unpaced(redis_client, ctx)
    assert [(line["event"], line["integration_id"]) for line in logs] == [
        ("pacing.ended", str(number.route.id))
    ]


def test_work_for_newer_processes_is_told_once_when_it_stays() -> None:
    """Next to a newer process it waits for a moment, which is no news."""
    watch = NewerWatch()
    with capture_logs() as logs:
        watch.look({"send": 3, "outcome": 0})
        assert logs == []
        watch.look({"send": 4, "outcome": 1})
        watch.look({"send": 4, "outcome": 0})
        watch.look({"send": 0, "outcome": 0})
        watch.look({"send": 2, "outcome": 0})
    told = [(line["event"], line["kind"], line["count"]) for line in logs]
    assert told == [("newer_process.awaited", "send", 4)]


def test_callbacks_that_fail_and_what_is_due_are_measured(
    supabase_world: Supabase, database_url: str
) -> None:
    """A callback that its owner disabled is no fault."""
    organization_id = uuid4()
    rows = [
        (True, None, None),
        (True, "now()", None),
        (False, "now()", "the receiver answers 410: it is gone"),
        (False, None, None),
    ]
    with psycopg.connect(database_url) as db:
        db.execute("insert into organizations (id, name) values (%s, 'Test')", (organization_id,))
        for is_enabled, failing, why in rows:
            db.execute(
                "insert into wpp_callbacks (organization_id, url, secret, position, is_enabled, "
                "failing_since, disabled_reason) "
                "values (%s, 'https://crm.example.com', 'x', 0, %s, %s, %s)",
                (organization_id, is_enabled, failing, why),
            )
        db.execute(
            "insert into wpp.events (organization_id, type, at, detail, recorded_at) "
            "values (%s, 'number.up', now(), '{}', now() - interval '5 minutes')",
            (organization_id,),
        )
    with open_database(supabase_world) as database:
        measured = name_callback_gauges(database.callbacks.measure())
    due = measured.pop("callbacks|oldest_due_s")
    assert measured == {"callbacks|works": 1, "callbacks|failing": 1, "callbacks|disabled": 1}
    assert 300 <= due < 400

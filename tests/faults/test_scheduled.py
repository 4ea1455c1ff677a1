"""Scheduled messages go out once: a clock is killed as it moves them, Redis restarts meanwhile."""

import time
from collections import Counter
from datetime import timedelta

import pytest

from shared.events import Message, utc_now
from shared.lanes import records
from shared.producer import Producer
from shared.redis import keys
from tests.faults.audit import wait_until_drained
from tests.faults.conftest import PrintProgress, StartFleet
from tests.faults.environment import FaultEnvironment
from tests.fixtures.waiting import wait_until

MESSAGES = 600


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_a_clock_killed_as_it_moves_due_messages_loses_and_doubles_none(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """They are for the same moment, in 60 conversations, and keep their order there."""
    tag = f"scheduled-{time.time_ns()}"
    number = env.integrations[0]
    producer = Producer.connect(env.redis.url)
    at = utc_now() + timedelta(seconds=25)
    ids = [
        producer.send(
            number.organization_id,
            Message(
                to=f"+7999{n % 60:07}",
                text=f"{tag} {n}",
                integration_id=number.integration_id,
                send_at=at,
            ),
        ).id
        for n in range(MESSAGES)
    ]
    env.redis.kill()
    env.redis.start()
    fleet = start_fleet({"WPP_PACE_S": "0"}, {"send": 2, "record": 1, "clock": 1})
    assert {state(env, each) for each in ids} == {"scheduled"}
    print_progress(f"{MESSAGES} scheduled messages survived a kill of Redis")
    scheduled = keys.scheduled("send")
    wait_until(
        lambda: env.client.zcard(scheduled) < MESSAGES, "the first ones to move", within_s=60
    )
    kills = 0
    while env.client.zcard(scheduled):
        if fleet.first("clock").alive:
            fleet.first("clock").kill()
            kills += 1
        wait_until(lambda: fleet.first("clock").alive, "the clock to be there again")
        time.sleep(0.05 * kills)
    print_progress(f"all moved, with {kills} kills")
    wait_until_drained(env, 120)
    assert Counter(state(env, each) for each in ids) == {"sent": MESSAGES}
    taken = [each["text"] for each in env.messages() if each["text"].startswith(f"{tag} ")]
    assert Counter(taken) == Counter(f"{tag} {n}" for n in range(MESSAGES))
    for peer in range(60):
        numbers = [n for n in (int(text.split()[1]) for text in taken) if n % 60 == peer]
        assert numbers == sorted(numbers)


def state(env: FaultEnvironment, event_id: object) -> str | None:
    record = records.find_record(env.client, event_id)  # type: ignore[arg-type]
    return record.state if record else None

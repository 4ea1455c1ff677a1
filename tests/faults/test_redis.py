"""Redis is killed: while work is postponed and in flight, and while a caller sends."""

import time

import pytest

from shared.redis import keys
from tests.faults.audit import assert_guarantees, collect_audit, wait_until_drained
from tests.faults.callers import Callers, make_conversations
from tests.faults.conftest import PrintProgress, StartFleet
from tests.faults.environment import FaultEnvironment, short_timeouts
from tests.fixtures.waiting import wait_until

DOWN_S = 3.0


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_postponed_and_claimed_work_survives_redis(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """Delayed lanes, calls in flight and claimed outcomes continue in order."""
    tag = f"redis-{time.time_ns()}"
    start_fleet(short_timeouts())
    callers = Callers(env, tag, make_conversations(env, 10))
    callers.send(1)
    wait_until_drained(env, 60)  # tokens and routes are known from here on
    env.gateway.rate = 1
    env.fail(rate_429=0.5, retry_after_s=5, slow={"rate": 0.5, "seconds": 1.5})
    accepted = callers.send(2, first=1)
    delayed, claimed, taken = wait_until(lambda: count_held(env), "work of each kind in Redis")
    env.redis.kill()
    killed = time.monotonic()
    print_progress(
        f"killed Redis with {delayed} lanes delayed, {claimed} claimed, {taken} outcomes claimed"
    )
    time.sleep(DOWN_S)
    env.redis.start()
    env.gateway.rate = 0
    env.fail()
    wait_until_drained(env, 60)
    print_progress(
        f"drained {time.monotonic() - killed:.1f} s after the kill; "
        f"Redis was down for {DOWN_S:.0f} s"
    )
    audit = collect_audit(env, tag, accepted)
    assert_guarantees(audit, accepted)
    assert audit.states == {"sent": len(accepted)}, (
        "every call was answered, so each is known to be sent"
    )


def count_held(env: FaultEnvironment) -> tuple[int, int, int] | None:
    """Return the delayed lanes, the claimed lanes and the claimed outcomes once there are each."""
    names = (keys.delayed("send"), keys.leases("send"), keys.OUTBOX_TAKEN)
    delayed, claimed, taken = (int(env.client.zcard(name)) for name in names)
    return (delayed, claimed, taken) if delayed and claimed and taken else None


@pytest.mark.faults
def test_a_caller_gets_503_without_redis_and_is_accepted_once_afterwards(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """503 with Retry-After and problem details; the repeated request makes one message."""
    tag = f"door-{time.time_ns()}"
    start_fleet(short_timeouts(), {"web": 1, "send": 1, "record": 1, "clock": 1})
    conversation = make_conversations(env, 1)[0]
    text = conversation.text(tag, 0)
    body = {"to": f"+{conversation.peer}", "text": text}
    with env.caller(conversation.integration.organization_id) as crm:
        crm.post(
            "/v1/messages", json={**body, "text": "the ingress caches the route"}
        ).raise_for_status()
        env.redis.kill()
        asked = time.monotonic()
        refused = crm.post("/v1/messages", json=body, headers={"Idempotency-Key": tag})
        took = time.monotonic() - asked
        print_progress(f"refused with {refused.status_code} after {took:.1f} s: {refused.text}")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.json()["code"] == "queue_unavailable"
        assert crm.get("/ready").status_code == 503
        assert crm.get("/health").status_code == 200
        assert took < 5
        env.fail(rate_429=1, retry_after_s=1)  # an answer says `queued` until it is sent
        env.redis.start()
        accepted = crm.post("/v1/messages", json=body, headers={"Idempotency-Key": tag})
        again = crm.post("/v1/messages", json=body, headers={"Idempotency-Key": tag})
        assert [accepted.status_code, again.status_code] == [202, 202]
        assert accepted.json() == again.json()
        assert again.headers["Idempotent-Replayed"] == "true"
        env.fail()
        wait_until(
            lambda: crm.get(accepted.headers["Location"]).json()["status"] == "sent",
            "the message to be sent",
        )
    assert [message["text"] for message in env.messages()].count(text) == 1

"""SIGTERM during work: running calls finish, the rest goes to the next process, no loss."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from shared import signed_keys
from shared.redis import keys
from tests.faults.audit import assert_guarantees, collect_audit, wait_until_drained
from tests.faults.callers import Callers, make_conversations
from tests.faults.conftest import PrintProgress, StartFleet, wait_until_ready
from tests.faults.environment import (
    KEY_SECRET,
    ConnectedIntegration,
    FaultEnvironment,
    short_timeouts,
)
from tests.fixtures.waiting import wait_until

GRACE_S = 30.0
"""What docker-compose.yml gives each process."""


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_worker_finishes_its_calls_and_hands_over_the_rest(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """It exits 0 within its grace period; no message is unknown, conversations stay in order."""
    tag = f"stopped-{time.time_ns()}"
    fleet = start_fleet(short_timeouts())
    callers = Callers(env, tag, make_conversations(env, 8))
    callers.send(1)
    wait_until_drained(env, 60)
    env.fail(latency_s=1)
    sending = threading.Thread(target=callers.send, args=(6,), kwargs={"first": 1})
    sending.start()
    took = []
    for service in fleet.named("send"):
        wait_until(lambda: env.client.zcard(keys.leases("send")) > 10, "sends in flight")
        service.stay_down = True
        asked = time.monotonic()
        code = service.terminate(GRACE_S)
        took.append(time.monotonic() - asked)
        assert code == 0
        service.stay_down = False
        wait_until(lambda: service.alive, "another worker", within_s=10)  # noqa: B023
    print_progress(
        f"two workers stopped in {took[0]:.1f} and {took[1]:.1f} s, with calls of 1 s in flight"
    )
    sending.join()
    env.fail()
    wait_until_drained(env, 60)
    audit = collect_audit(env, tag, callers.accepted)
    assert_guarantees(audit, callers.accepted)
    assert audit.states == {"sent": len(callers.accepted)}


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_stopped_ingress_loses_nothing_that_it_accepted(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """Three stops under load: every request that was answered 2xx is processed, exit code 0."""
    tag = f"shut-{time.time_ns()}"
    fleet = start_fleet(short_timeouts())
    callers = Callers(env, tag, make_conversations(env, 5))
    codes = []
    with _post_webhooks(env, env.integrations[0], tag) as accepted:
        sending = threading.Thread(target=callers.send, args=(12,), kwargs={"per_s": 60})
        sending.start()
        for _ in range(3):
            time.sleep(1.5)
            codes.append(fleet.first("web").terminate(GRACE_S))
            wait_until(lambda: fleet.first("web").starts == len(codes) + 1, "the next ingress")
            wait_until_ready(env)
        sending.join()
    print_progress(
        f"the ingress exited with {codes}; answers {dict(callers.answers)}; "
        f"{len(accepted)} webhooks accepted"
    )
    wait_until_drained(env, 60)
    audit = collect_audit(env, tag, callers.accepted)
    assert_guarantees(audit, callers.accepted)
    written = env.rows(
        "select message_text from chat_messages where not is_outgoing and message_text like %s",
        f"{tag} %",
    )
    assert sorted(text for (text,) in written) == sorted(accepted)
    assert codes == [0, 0, 0]
    assert fleet.first("web").log.read_text().count("Finished server process") == len(codes)
    assert len(accepted) > 50


@contextmanager
def _post_webhooks(
    env: FaultEnvironment, integration: ConnectedIntegration, tag: str
) -> Iterator[list[str]]:
    """Post customers' messages as the platform does; yield the texts that were accepted."""
    accepted: list[str] = []
    stopping = threading.Event()
    url = signed_keys.make_webhook_url(env.url, integration.account, (KEY_SECRET.encode(),))

    def post() -> None:
        with httpx.Client(timeout=10, trust_env=False) as client:
            count = 0
            while not stopping.is_set():
                peer, text = f"79995{count % 10:06}", f"{tag} in {count}"
                event = {
                    "type": "chat",
                    "from": f"+{peer}",
                    "text": text,
                    "messageId": f"false_{peer}@c.us_{count}",
                }
                event |= {"account": integration.account, "raw_from": f"{peer}@c.us"}
                try:
                    taken = client.post(url, json=event).is_success
                except httpx.TransportError:
                    taken = False
                if taken:
                    accepted.append(text)
                    count += 1
                time.sleep(0.02)

    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    try:
        yield accepted
    finally:
        stopping.set()
        thread.join()

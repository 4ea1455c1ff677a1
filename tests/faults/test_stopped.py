"""SIGTERM in the middle of work: what runs is finished, the rest goes on elsewhere, nothing is lost."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from shared import signed_keys
from shared.redis import keys
from tests.faults.audit import drained, keep_promises, read_books
from tests.faults.callers import Callers, conversations
from tests.faults.conftest import Say, StartFleet, ready, until
from tests.faults.environment import KEY_SECRET, Number, Town, quick

GRACE_S = 30.0
"""What docker-compose.yml gives each process."""


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_worker_told_to_stop_finishes_and_hands_over(
    town: Town, start_fleet: StartFleet, say: Say
) -> None:
    """It exits 0 within its grace period; nothing becomes unknown, and each conversation stays in order."""
    tag = f"stopped-{time.time_ns()}"
    fleet = start_fleet(quick())
    callers = Callers(town, tag, conversations(town, 8))
    callers.send(1)
    drained(town, 60)
    town.fail(latency_s=1)
    sending = threading.Thread(target=callers.send, args=(6,), kwargs={"first": 1})
    sending.start()
    took = []
    for service in fleet.of("send"):
        until(lambda: town.client.zcard(keys.leases("send")) > 10, "sends in flight")
        service.held = True
        asked = time.monotonic()
        code = service.terminate(GRACE_S)
        took.append(time.monotonic() - asked)
        assert code == 0
        service.held = False
        until(lambda: service.alive, "another worker", within_s=10)  # noqa: B023 - used at once
    say(f"two workers stopped in {took[0]:.1f} and {took[1]:.1f} s, with calls of 1 s in flight")
    sending.join()
    town.fail()
    drained(town, 60)
    books = read_books(town, tag, callers.accepted)
    keep_promises(books, callers.accepted)
    assert books.states == {"sent": len(callers.accepted)}


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_door_told_to_stop_loses_nothing_that_it_accepted(
    town: Town, start_fleet: StartFleet, say: Say
) -> None:
    """Three times in a row, with messages and webhooks coming in: every 2xx is kept, every process of it in order."""
    tag = f"shut-{time.time_ns()}"
    fleet = start_fleet(quick())
    callers = Callers(town, tag, conversations(town, 5))
    codes = []
    with _customers(town, town.numbers[0], tag) as told:
        sending = threading.Thread(target=callers.send, args=(12,), kwargs={"per_s": 60})
        sending.start()
        for _ in range(3):
            time.sleep(1.5)
            codes.append(fleet.one("web").terminate(GRACE_S))
            until(lambda: fleet.one("web").starts == len(codes) + 1, "the next door")
            ready(town)
        sending.join()
    say(
        f"the door ended with {codes}; the callers were told {dict(callers.answers)}; {len(told)} webhooks accepted"
    )
    drained(town, 60)
    books = read_books(town, tag, callers.accepted)
    keep_promises(books, callers.accepted)
    written = town.rows(
        "select message_text from chat_messages where not is_outgoing and message_text like %s",
        f"{tag} %",
    )
    assert sorted(text for (text,) in written) == sorted(told)
    assert codes == [0, 0, 0]
    assert fleet.one("web").log.read_text().count("Finished server process") == len(codes)
    assert len(told) > 50


@contextmanager
def _customers(town: Town, number: Number, tag: str) -> Iterator[list[str]]:
    """Post what customers write, as the platform does, as fast as the door takes it; yield the texts accepted."""
    told: list[str] = []
    over = threading.Event()
    url = signed_keys.make_webhook_url(town.url, number.account, (KEY_SECRET.encode(),))

    def post() -> None:
        with httpx.Client(timeout=10, trust_env=False) as client:
            count = 0
            while not over.is_set():
                peer, text = f"79995{count % 10:06}", f"{tag} in {count}"
                event = {
                    "type": "chat",
                    "from": f"+{peer}",
                    "text": text,
                    "messageId": f"false_{peer}@c.us_{count}",
                }
                event |= {"account": number.account, "raw_from": f"{peer}@c.us"}
                try:
                    taken = client.post(url, json=event).is_success
                except httpx.TransportError:
                    taken = False
                if taken:
                    told.append(text)
                    count += 1
                time.sleep(0.02)

    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()

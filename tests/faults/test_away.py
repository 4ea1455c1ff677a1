"""Supabase or the platform is away for a while: work waits, and everything is there afterwards, once and in order."""

import os
import threading
import time
from typing import Any

import pytest

from shared import routing, webhooks
from shared.events import utc_now
from shared.lanes.client import Append, Lanes
from shared.lanes.wakeups import wake
from shared.redis import keys
from shared.settings import EngineSettings
from tests.faults.audit import drained, keep_promises, leftovers, read_books
from tests.faults.callers import Callers, conversations
from tests.faults.conftest import Say, StartFleet, until
from tests.faults.environment import Number, Town, quick

BACKLOG = int(os.environ.get("FAULTS_BACKLOG", "60000"))
"""Events that come in while Supabase is away: what 10 minutes at 100 a second bring, as fast as Redis takes them.

Each leaves two outcomes. The appends are those of the door, made here: HTTP is what the other tests are about.
"""
AT_ONCE = 500
PLATFORM_AWAY_S = 8.0


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_what_came_in_while_supabase_was_away_is_there_afterwards(
    town: Town, start_fleet: StartFleet, say: Say
) -> None:
    """Customers write and messages go out all the same; every row is there when Supabase is back, and once."""
    tag = f"away-{time.time_ns()}"
    fleet = start_fleet(quick())
    callers = Callers(town, tag, conversations(town, 5))
    callers.send(1)
    drained(town, 60)
    town.supabase.stop()
    try:
        stopped = time.monotonic()
        texts = _customers_write(town, tag, BACKLOG)
        callers.send(2, first=1)
        until(
            lambda: not set(leftovers(town)) & {"lane", "ready", "leases"},
            "all of it handled",
            150,
            pause_s=0.5,
        )
        backlog = town.client.xlen(keys.OUTBOX)
        size_mb = (town.client.memory_usage(keys.OUTBOX, samples=0) or 0) / 1e6
        say(
            f"{BACKLOG} events within {time.monotonic() - stopped:.0f} s: {backlog} outcomes ({size_mb:.0f} MB) wait"
        )
    finally:
        town.supabase.start()
    back = time.monotonic()
    drained(town, 150)
    took_s = time.monotonic() - back
    say(f"Supabase had all of them {took_s:.1f} s after its return: {backlog / took_s:.0f} rows/s")
    written = town.rows(
        "select message_text from chat_messages where not is_outgoing and message_text like %s",
        f"{tag} %",
    )
    assert sorted(text for (text,) in written) == sorted(texts)
    books = read_books(town, tag, callers.accepted)
    keep_promises(books, callers.accepted)
    assert books.states == {"sent": len(callers.accepted)}
    assert [service.exits for service in fleet.services] == [[]] * len(fleet.services), (
        "nobody gave up meanwhile"
    )


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_more_than_supabase_can_take_is_refused_before_memory_runs_out(
    town: Town, start_fleet: StartFleet, say: Say
) -> None:
    """Past the bound the door says 503 and no message goes out; afterwards each goes out once, in order."""
    tag = f"full-{time.time_ns()}"
    start_fleet(quick(WPP_OUTBOX_LIMIT="200"))
    callers = Callers(town, tag, conversations(town, 5))
    callers.send(1)
    drained(town, 60)
    town.gateway.rate = 1
    sending = threading.Thread(target=callers.send, args=(6,), kwargs={"first": 1})
    sending.start()
    until(lambda: callers.answers["503"], "the door to be full", within_s=30)
    time.sleep(3)  # calls in flight end
    backlog, gone_out = town.client.xlen(keys.OUTBOX), len(town.messages())
    time.sleep(1)
    assert len(town.messages()) == gone_out
    town.gateway.rate = 0
    sending.join()
    drained(town, 60)
    say(f"full with {backlog} outcomes; the callers were told {dict(callers.answers)}")
    books = read_books(town, tag, callers.accepted)
    keep_promises(books, callers.accepted)
    assert backlog < 200 + 300, "what was in hand may still come in, no more"
    assert books.states == {"sent": 240 + 40}


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_sends_wait_for_a_platform_that_is_away(
    town: Town, start_fleet: StartFleet, say: Say
) -> None:
    """Nothing fails, nothing becomes unknown: everything goes out when it is back, in order."""
    tag = f"waiting-{time.time_ns()}"
    start_fleet(quick())
    callers = Callers(town, tag, conversations(town, 6))
    callers.send(1)
    drained(town, 60)
    town.platform.stop()
    stopped = time.monotonic()
    try:
        accepted = callers.send(4, first=1)
        time.sleep(max(0.0, stopped + PLATFORM_AWAY_S - time.monotonic()))
        assert sum(map(int, town.client.hvals(keys.waiting("send")))) == 4 * 48
    finally:
        town.platform.launch()
        town.platform.wait()
    back = time.monotonic()
    drained(town, 90)
    say(
        f"the platform was away {back - stopped:.1f} s; all had gone out {time.monotonic() - back:.1f} s later"
    )
    books = read_books(town, tag, accepted)
    keep_promises(books, accepted)
    assert books.states == {"sent": len(accepted)}


def _customers_write(town: Town, tag: str, count: int) -> list[str]:
    """Append what customers wrote, as the door does, as fast as Redis takes it; return the texts."""
    lanes = Lanes(town.client, EngineSettings())
    lanes.load(town.client)
    texts = [f"{tag} in {one}" for one in range(count)]
    for start in range(0, count, AT_ONCE):
        pipe = town.client.pipeline(transaction=False)
        for one, text in enumerate(texts[start : start + AT_ONCE], start):
            lanes.append_on(pipe, _incoming(town.numbers[one % len(town.numbers)], one, text))
        replies: list[Any] = pipe.execute()
        assert {bytes(reply[0]) for reply in replies} == {b"new"}
        wake(town.client, "webhook", 8)
    return texts


def _incoming(number: Number, one: int, text: str) -> Append:
    peer = f"79996{one % 200:06}"
    payload = {
        "type": "chat",
        "account": number.account,
        "from": f"+{peer}",
        "raw_from": f"{peer}@c.us",
        "text": text,
    }
    payload["messageId"] = f"false_{peer}@c.us_{text}"
    arrival = webhooks.classify_event(payload, number.account, utc_now())
    return routing.route_webhook(number.account, payload, arrival.identity, arrival.peer)

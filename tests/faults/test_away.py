"""Supabase or the platform is away for a while: work waits, and everything is there afterwards, once and in order."""

import os
import threading
import time
from typing import Any

import pytest

from shared.lanes.client import APPEND, Lanes
from shared.lanes.types import Append
from shared.redis import keys
from shared.settings import EngineSettings
from tests.faults.audit import assert_guarantees, collect_audit, leftovers, wait_until_drained
from tests.faults.callers import Callers, make_conversations
from tests.faults.conftest import PrintProgress, StartFleet
from tests.faults.environment import ConnectedIntegration, FaultEnvironment, short_timeouts
from tests.fixtures.waiting import wait_until
from tests.shared.webhooks.webhook_events import route

BACKLOG = int(os.environ.get("FAULTS_BACKLOG", "60000"))
"""Events that come in while Supabase is away: what 10 minutes at 100 a second bring, as fast as Redis takes them.

Each leaves two outcomes. The appends are those of the door, made here: HTTP is what the other tests are about.
"""
AT_ONCE = 500
PLATFORM_AWAY_S = 8.0


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_what_came_in_while_supabase_was_away_is_there_afterwards(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """Customers write and messages go out all the same; every row is there when Supabase is back, and once."""
    tag = f"away-{time.time_ns()}"
    fleet = start_fleet(short_timeouts())
    callers = Callers(env, tag, make_conversations(env, 5))
    callers.send(1)
    wait_until_drained(env, 60)
    env.supabase.stop()
    try:
        stopped = time.monotonic()
        texts = _customers_write(env, tag, BACKLOG)
        callers.send(2, first=1)
        wait_until(
            lambda: not set(leftovers(env)) & {"lane", "ready", "leases"},
            "all of it handled",
            150,
            poll_s=0.5,
        )
        backlog = env.client.xlen(keys.OUTBOX)
        size_mb = (env.client.memory_usage(keys.OUTBOX, samples=0) or 0) / 1e6
        print_progress(
            f"{BACKLOG} events within {time.monotonic() - stopped:.0f} s: {backlog} outcomes ({size_mb:.0f} MB) wait"
        )
    finally:
        env.supabase.start()
    back = time.monotonic()
    wait_until_drained(env, 150)
    took_s = time.monotonic() - back
    print_progress(
        f"Supabase had all of them {took_s:.1f} s after its return: {backlog / took_s:.0f} rows/s"
    )
    written = env.rows(
        "select message_text from chat_messages where not is_outgoing and message_text like %s",
        f"{tag} %",
    )
    assert sorted(text for (text,) in written) == sorted(texts)
    books = collect_audit(env, tag, callers.accepted)
    assert_guarantees(books, callers.accepted)
    assert books.states == {"sent": len(callers.accepted)}
    assert [service.exits for service in fleet.processes] == [[]] * len(fleet.processes), (
        "nobody gave up meanwhile"
    )


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_more_than_supabase_can_take_is_refused_before_memory_runs_out(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """Past the bound the door says 503 and no message goes out; afterwards each goes out once, in order."""
    tag = f"full-{time.time_ns()}"
    start_fleet(short_timeouts(WPP_OUTBOX_LIMIT="200"))
    callers = Callers(env, tag, make_conversations(env, 5))
    callers.send(1)
    wait_until_drained(env, 60)
    env.gateway.rate = 1
    sending = threading.Thread(target=callers.send, args=(6,), kwargs={"first": 1})
    sending.start()
    wait_until(lambda: callers.answers["503"], "the door to be full", within_s=30)
    time.sleep(3)  # calls in flight end
    backlog, gone_out = env.client.xlen(keys.OUTBOX), len(env.messages())
    time.sleep(1)
    assert len(env.messages()) == gone_out
    env.gateway.rate = 0
    sending.join()
    wait_until_drained(env, 60)
    print_progress(f"full with {backlog} outcomes; the callers were told {dict(callers.answers)}")
    books = collect_audit(env, tag, callers.accepted)
    assert_guarantees(books, callers.accepted)
    assert backlog < 200 + 300, "what was in hand may still come in, no more"
    assert books.states == {"sent": 240 + 40}


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_sends_wait_for_a_platform_that_is_away(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """Nothing fails, nothing becomes unknown: everything goes out when it is back, in order."""
    tag = f"waiting-{time.time_ns()}"
    start_fleet(short_timeouts())
    callers = Callers(env, tag, make_conversations(env, 6))
    callers.send(1)
    wait_until_drained(env, 60)
    env.platform.stop()
    stopped = time.monotonic()
    try:
        accepted = callers.send(4, first=1)
        time.sleep(max(0.0, stopped + PLATFORM_AWAY_S - time.monotonic()))
        assert sum(map(int, env.client.hvals(keys.waiting("send")))) == 4 * 48
    finally:
        env.platform.launch()
        env.platform.wait()
    back = time.monotonic()
    wait_until_drained(env, 90)
    print_progress(
        f"the platform was away {back - stopped:.1f} s; all had gone out {time.monotonic() - back:.1f} s later"
    )
    books = collect_audit(env, tag, accepted)
    assert_guarantees(books, accepted)
    assert books.states == {"sent": len(accepted)}


def _customers_write(env: FaultEnvironment, tag: str, count: int) -> list[str]:
    """Append what customers wrote, as the door does, as fast as Redis takes it; return the texts."""
    lanes = Lanes(env.client, EngineSettings())
    env.client.script_load(APPEND.source)
    texts = [f"{tag} in {one}" for one in range(count)]
    for start in range(0, count, AT_ONCE):
        pipe = env.client.pipeline(transaction=False)
        for one, text in enumerate(texts[start : start + AT_ONCE], start):
            item = _incoming(env.integrations[one % len(env.integrations)], one, text)
            APPEND.add_to(pipe, [keys.PREFIX], lanes.append_arguments([item]))
        replies: list[Any] = pipe.execute()
        assert {bytes(reply[0][0]) for reply in replies} == {b"new"}
    return texts


def _incoming(integration: ConnectedIntegration, one: int, text: str) -> Append:
    peer = f"79996{one % 200:06}"
    payload = {
        "type": "chat",
        "account": integration.account,
        "from": f"+{peer}",
        "raw_from": f"{peer}@c.us",
        "text": text,
    }
    payload["messageId"] = f"false_{peer}@c.us_{text}"
    return route(payload, integration.account)

"""Supabase or the platform is down for a while: work waits and is done once, in order."""

import itertools
import os
import threading
import time
from typing import Any

import pytest

from shared.lanes.client import Lanes
from shared.lanes.scripts import APPEND
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
"""Events that arrive while Supabase is down: as many as in 10 minutes at 100 per second.

Each makes two outcomes. They are appended as the ingress does, as fast as Redis accepts them.
"""
BATCH_SIZE = 500
PLATFORM_DOWN_S = 8.0
TOKENS_END_S = 40.0
"""Longer than a process remembers a route (10 s) or a token without Redis (30 s)."""


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_rows_of_an_outage_of_supabase_are_complete_afterwards(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """Messages come in and go out meanwhile; each has exactly one row after the return."""
    tag = f"away-{time.time_ns()}"
    fleet = start_fleet(short_timeouts())
    callers = Callers(env, tag, make_conversations(env, 5))
    callers.send(1)
    wait_until_drained(env, 60)
    env.supabase.stop()
    try:
        stopped = time.monotonic()
        texts = _append_incoming(env, tag, BACKLOG)
        callers.send(2, first=1)
        wait_until(
            lambda: not set(leftovers(env)) & {"lane", "ready", "leases"},
            "all events handled",
            150,
            poll_s=5,  # each look goes through all keys: it takes time from the workers
        )
        backlog = env.client.xlen(keys.OUTBOX)
        size_mb = (env.client.memory_usage(keys.OUTBOX, samples=0) or 0) / 1e6
        print_progress(
            f"{BACKLOG} events in {time.monotonic() - stopped:.0f} s: "
            f"{backlog} outcomes ({size_mb:.0f} MB) wait"
        )
    finally:
        env.supabase.start()
    back = time.monotonic()
    wait_until_drained(env, 150)
    took_s = time.monotonic() - back
    print_progress(
        f"Supabase had them {took_s:.1f} s after its return: {backlog / took_s:.0f} rows/s"
    )
    written = env.rows(
        "select message_text from chat_messages where not is_outgoing and message_text like %s",
        f"{tag} %",
    )
    assert sorted(text for (text,) in written) == sorted(texts)
    audit = collect_audit(env, tag, callers.accepted)
    assert_guarantees(audit, callers.accepted)
    assert audit.states == {"sent": len(callers.accepted)}
    assert [service.exits for service in fleet.processes] == [[]] * len(fleet.processes), (
        "no process ended meanwhile"
    )


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_full_outbox_refuses_messages(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """Past the limit the ingress answers 503 and no message goes out; later each goes out once."""
    tag = f"full-{time.time_ns()}"
    start_fleet(short_timeouts(WPP_OUTBOX_LIMIT="200"))
    callers = Callers(env, tag, make_conversations(env, 5))
    callers.send(1)
    wait_until_drained(env, 60)
    env.gateway.rate = 1
    sending = threading.Thread(target=callers.send, args=(6,), kwargs={"first": 1})
    sending.start()
    wait_until(lambda: callers.answers["503"], "the ingress to refuse", within_s=30)
    wait_until(lambda: not env.client.zcard(keys.leases("send")), "the calls in flight to end")
    backlog = env.client.xlen(keys.OUTBOX)
    sent = len(env.messages())
    time.sleep(1)
    assert len(env.messages()) == sent
    env.gateway.rate = 0
    sending.join()
    wait_until_drained(env, 60)
    print_progress(f"full with {backlog} outcomes; answers {dict(callers.answers)}")
    audit = collect_audit(env, tag, callers.accepted)
    assert_guarantees(audit, callers.accepted)
    assert backlog < 200 + 300, "only events in flight may add outcomes"
    assert audit.states == {"sent": 240 + 40}


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_messages_go_out_while_supabase_is_away_for_longer_than_every_ttl(
    env: FaultEnvironment,
    start_fleet: StartFleet,
    print_progress: PrintProgress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tokens of 12 s end several times, and no process remembers a route; each row is there."""
    tag = f"ttl-{time.time_ns()}"
    monkeypatch.setenv("WPP_SANDBOX_TOKEN_TTL_S", "12")
    _restart_platform(env)
    env.rows(
        "update wpp.integration_secrets set secrets = secrets - 'wppJwtToken' "
        "returning integration_id"
    )
    start_fleet(short_timeouts())
    callers = Callers(env, tag, make_conversations(env, 1))
    callers.send(1)
    wait_until_drained(env, 60)
    minted = _count_tokens(env)
    env.supabase.stop()
    try:
        stopped = time.monotonic()
        _send_for(callers, TOKENS_END_S)
        _append_incoming(env, tag, 200)
        wait_until(
            lambda: not set(leftovers(env)) & {"lane", "ready", "leases"},
            "all events handled",
            60,
            poll_s=0.5,
        )
        print_progress(
            f"{len(callers.accepted)} messages out in {time.monotonic() - stopped:.0f} s without "
            f"Supabase, {_count_tokens(env) - minted} tokens; answers {dict(callers.answers)}"
        )
        assert set(callers.answers) == {"202"}
        assert _count_tokens(env) - minted >= 2 * len(env.integrations)
    finally:
        env.supabase.start()
        monkeypatch.delenv("WPP_SANDBOX_TOKEN_TTL_S")
        _restart_platform(env)
    wait_until_drained(env, 90)
    audit = collect_audit(env, tag, callers.accepted)
    assert_guarantees(audit, callers.accepted)
    assert audit.states == {"sent": len(callers.accepted)}
    query = "select count(*) from chat_messages where not is_outgoing and message_text like %s"
    assert env.rows(query, f"{tag} in %") == [(200,)]


def _send_for(callers: Callers, seconds: float) -> None:
    """Send the second and later messages of each conversation for so long."""
    end = time.monotonic() + seconds
    for number in itertools.count(1):
        callers.send(1, first=number)
        if time.monotonic() > end:
            return


def _restart_platform(env: FaultEnvironment) -> None:
    env.platform.stop()
    env.platform.launch()
    env.platform.wait()


def _count_tokens(env: FaultEnvironment) -> int:
    return sum(int(account["minted"]) for account in env.ledger()["tokens"].values())


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_sends_wait_while_the_platform_is_down(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """No message fails or becomes unknown: all go out in order after its return."""
    tag = f"waiting-{time.time_ns()}"
    start_fleet(short_timeouts())
    callers = Callers(env, tag, make_conversations(env, 6))
    callers.send(1)
    wait_until_drained(env, 60)
    env.platform.stop()
    stopped = time.monotonic()
    try:
        accepted = callers.send(4, first=1)
        time.sleep(max(0.0, stopped + PLATFORM_DOWN_S - time.monotonic()))
        assert sum(map(int, env.client.hvals(keys.waiting("send")))) == 4 * 48
    finally:
        env.platform.launch()
        env.platform.wait()
    back = time.monotonic()
    wait_until_drained(env, 90)
    print_progress(
        f"the platform was down {back - stopped:.1f} s; "
        f"all messages were out {time.monotonic() - back:.1f} s later"
    )
    audit = collect_audit(env, tag, accepted)
    assert_guarantees(audit, accepted)
    assert audit.states == {"sent": len(accepted)}


def _append_incoming(env: FaultEnvironment, tag: str, count: int) -> list[str]:
    """Append customers' messages as the ingress does; return the texts."""
    lanes = Lanes(env.client, EngineSettings())
    env.client.script_load(APPEND.source)
    texts = [f"{tag} in {one}" for one in range(count)]
    for start in range(0, count, BATCH_SIZE):
        pipe = env.client.pipeline(transaction=False)
        for one, text in enumerate(texts[start : start + BATCH_SIZE], start):
            item = _incoming(env.integrations[one % len(env.integrations)], one, text)
            APPEND.add_to(pipe, [keys.PREFIX], lanes.append_arguments([item]))
        replies: list[Any] = pipe.execute()
        assert {bytes(reply[0]).split()[0] for reply in replies} == {b"new"}
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

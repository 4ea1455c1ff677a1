"""The last release and this checkout side by side: under load, processes are replaced in turn."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.pipeline import ROOT
from tests.faults.audit import assert_guarantees, collect_audit, wait_until_drained
from tests.faults.callers import Callers, make_conversations
from tests.faults.conftest import (
    PrintProgress,
    StartFleet,
    connect_integration,
    wait_until_ready,
)
from tests.faults.environment import FaultEnvironment, short_timeouts
from tests.fixtures.fleet import Fleet
from tests.fixtures.release import unpack_release
from tests.fixtures.waiting import wait_until

INGRESS = ("web",)
WORKERS = ("send", "provision", "webhook", "record", "clock")
STOP_WITHIN_S = 40.0
START_WITHIN_S = 100.0
CUSTOMER = "79990009001"


@pytest.mark.faults
@pytest.mark.timeout(400)
@pytest.mark.parametrize("order", [(INGRESS, WORKERS), (WORKERS, INGRESS)], ids=["door", "workers"])
def test_an_upgrade_under_load_loses_and_doubles_nothing(
    env: FaultEnvironment,
    start_fleet: StartFleet,
    print_progress: PrintProgress,
    tmp_path: Path,
    order: tuple[tuple[str, ...], tuple[str, ...]],
) -> None:
    """Half-way, messages go out and come in, and a number is connected, across the versions."""
    tag = f"upgrade-{time.time_ns()}"
    fleet = start_fleet(short_timeouts(), root=unpack_release(tmp_path))
    callers = Callers(env, tag, make_conversations(env, 3))
    callers.send(1)
    print_progress("the last release runs")
    with sending(callers):
        replace(env, fleet, order[0])
        accepted = len(callers.accepted)
        print_progress(f"{order[0]} are of this checkout, {accepted} messages accepted")
        assert_talks(env, f"a customer at {tag}")
        wait_until(lambda: len(callers.accepted) > accepted, "messages across versions", 60)
        replace(env, fleet, order[1])
    wait_until_drained(env, 90)
    sent = callers.accepted
    audit = collect_audit(env, tag, sent)
    print_progress(f"{len(sent)} messages: {audit.states}; answers {dict(callers.answers)}")
    assert_guarantees(audit, sent)
    assert audit.states == {"sent": len(sent)}, "each process finished what it worked on"


def assert_talks(env: FaultEnvironment, text: str) -> None:
    """A number is connected, and a customer's message reaches its row once."""
    number = connect_integration(env)
    path = f"{env.platform.url}/phone/{number.account}/messages"
    env.http.post(path, json={"from": f"+{CUSTOMER}", "text": text}).raise_for_status()
    count = "select count(*) from chat_messages where message_text = %s"
    wait_until(lambda: env.rows(count, text) == [(1,)], "the customer's message", 60)


@contextmanager
def sending(callers: Callers) -> Iterator[None]:
    """Send a message in every conversation, again and again, during the block."""
    stop = threading.Event()
    thread = threading.Thread(target=send_until, args=(callers, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def send_until(callers: Callers, stop: threading.Event) -> None:
    seq = 1
    while not stop.is_set():
        callers.send(1, per_s=20, first=seq)
        seq += 1


def replace(env: FaultEnvironment, fleet: Fleet, names: tuple[str, ...]) -> None:
    """Stop process after process; the supervisor starts each again, of this checkout."""
    for process in (each for name in names for each in fleet.named(name)):
        process.root = ROOT
        assert process.terminate(STOP_WITHIN_S) == 0, process.name
        starts = process.starts
        wait_until(lambda: process.starts > starts, f"another {process.name}")  # noqa: B023
    wait_until_ready(env, START_WITHIN_S)

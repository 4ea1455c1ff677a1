"""The lanes without WhatsApp: a plain Dramatiq app, real worker processes, a real Redis."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from uuid import UUID

import dramatiq
import pytest

from sandbox.redis import RedisServer
from shared.lanes.broker import LaneBroker
from shared.lanes.client import Lanes
from shared.lanes.records import find_record
from shared.lanes.sweeper import MAX_LOST_LEASES, Sweeper
from shared.lanes.watchdog import EXIT_CODE
from shared.redis import connect, keys
from shared.settings import EngineSettings
from tests.shared.lanes.workers import WorkerProgram, blocked_consumers, eventually, short_timeouts


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Return a redis-server of this test's own, to be killed."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def broker(server: RedisServer) -> Iterator[LaneBroker]:
    client = connect(server.url)
    yield LaneBroker(client)
    client.close()


@contextmanager
def sweeping(server: RedisServer) -> Iterator[None]:
    """Run a sweeper, as the clock does."""
    stopping = Flag()
    client = connect(server.url)
    sweeper = Sweeper(Lanes(client, EngineSettings()), ["default"])
    thread = Thread(target=sweeper.run, args=(stopping,))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        client.close()


def send(broker: LaneBroker, name: str, seconds: float = 0, **options: object) -> None:
    enqueue(broker, "note", (name, seconds), **options)


def enqueue(
    broker: LaneBroker, actor_name: str, args: tuple[object, ...], **options: object
) -> UUID:
    message = dramatiq.Message[None](
        queue_name="default", actor_name=actor_name, args=args, kwargs={}, options=options
    )
    broker.enqueue(message)
    return UUID(message.message_id)


def names(lines: list[str], word: str) -> list[str]:
    return [line.split()[1] for line in lines if line.startswith(word)]


def test_messages_of_one_lane_run_in_order_and_lanes_at_the_same_time(
    server: RedisServer, broker: LaneBroker, tmp_path: Path
) -> None:
    """Three lanes of ten messages on four threads: each lane in its order, none at once."""
    with WorkerProgram(server.url, tmp_path / "one") as worker:
        for number in range(10):
            for lane in "abc":
                send(broker, f"{lane}{number}", 0.02, lane=lane)
        broker.join("default", timeout=20_000)
        lines = worker.lines()
    for lane in "abc":
        own = [line for line in lines if line.split()[1].startswith(lane)]
        wanted = [(f"began {lane}{number}", f"done {lane}{number}") for number in range(10)]
        assert own == [line for pair in wanted for line in pair]
    running = [line.split()[1][0] for line in lines if line.startswith("began")]
    assert running != sorted(running), "lanes ran at the same time"


def test_tenants_take_turns(server: RedisServer, broker: LaneBroker, tmp_path: Path) -> None:
    """A tenant with one message waits for a few of another tenant's 200, and not for all."""
    for number in range(200):
        send(broker, f"many{number}", 0.01, tenant="many")
    send(broker, "few", tenant="few")
    with WorkerProgram(server.url, tmp_path / "one") as worker:
        broker.join("default", timeout=20_000)
        began = names(worker.lines(), "began")
    assert len(began) == 201
    assert began.index("few") < 20


@pytest.mark.faults
def test_what_a_killed_worker_held_runs_again_in_order(
    server: RedisServer, broker: LaneBroker, tmp_path: Path
) -> None:
    """Once its lease has ended, at another worker; nothing behind it in its lane overtakes it."""
    with sweeping(server), WorkerProgram(server.url, tmp_path / "one") as killed:
        for lane in "abcd":
            send(broker, f"{lane}1", 3600 if lane in "ab" else 0, lane=lane)
            send(broker, f"{lane}2", lane=lane)
        eventually(lambda: {"a1", "b1"} <= set(names(killed.lines(), "began")), 20)
        killed.kill()
        with WorkerProgram(server.url, tmp_path / "two") as survivor:
            took_s = eventually(lambda: {"a1", "b1"} <= set(names(survivor.lines(), "began")), 30)
            assert not {"a2", "b2"} & set(names(survivor.lines(), "began"))
    print(f"messages of a killed worker began again after {took_s:.1f} s")  # noqa: T201


@pytest.mark.faults
def test_a_message_that_ends_its_worker_three_times_is_a_dead_letter(
    server: RedisServer, broker: LaneBroker, tmp_path: Path
) -> None:
    """Its lane goes on behind it, in order; a message that ran beside it is done."""
    poison = enqueue(broker, "die", ("poison",), lane="x")
    for number in range(3):
        send(broker, f"x{number}", lane="x")
    send(broker, "beside", 0.2, lane="y")
    starts = 0
    with sweeping(server):
        while broker.client.exists(keys.waiting("default")):
            with WorkerProgram(server.url, tmp_path / "one", TEST_LEASE="1.5") as worker:
                starts += 1
                eventually(
                    lambda: worker.ended or not broker.client.exists(keys.waiting("default")),
                    40,
                )
                lines = worker.lines()
    began = names(lines, "began")
    assert (began.count("poison"), starts) == (MAX_LOST_LEASES, MAX_LOST_LEASES + 1)
    assert [name for name in names(lines, "done") if name != "beside"] == ["x0", "x1", "x2"]
    assert began.index("x0") > len(began) - 1 - began[::-1].index("poison")
    assert "beside" in names(lines, "done")
    record = find_record(broker.client, poison)
    assert record
    assert (record.state, record.code) == ("failed", "worker_stopped")
    assert record.reason
    assert "3 times" in record.reason


@pytest.mark.faults
def test_a_terminated_worker_finishes_hands_back_and_exits_with_0(
    server: RedisServer, broker: LaneBroker, tmp_path: Path
) -> None:
    """What runs is finished; the rest stays in its lanes, unclaimed and untried."""
    with WorkerProgram(server.url, tmp_path / "one", threads=3) as worker:  # two for one tenant
        eventually(lambda: blocked_consumers(broker.client), 20)
        for number in range(8):
            send(broker, str(number), 5 if number < 2 else 0)
        eventually(lambda: sorted(names(worker.lines(), "began")) == ["0", "1"], 20)
        assert worker.terminate() == 0
        assert Counter(names(worker.lines(), "done")) == Counter("01")
    assert broker.client.hlen(keys.in_flight("default")) == 0
    assert broker.client.zcard(keys.leases("default")) == 0
    with WorkerProgram(server.url, tmp_path / "two", threads=3) as worker:
        broker.join("default", timeout=20_000)
        assert Counter(names(worker.lines(), "done")) == Counter("234567")


@pytest.mark.faults
def test_everything_runs_while_workers_and_redis_are_killed(
    server: RedisServer, broker: LaneBroker, tmp_path: Path
) -> None:
    """600 messages; either of two workers is killed six times, Redis twice.

    No message is lost; only what was running at a kill runs again.
    """
    homes = [tmp_path / name for name in ("one", "two")]
    threads = 4
    workers = [WorkerProgram(server.url, home, threads=threads) for home in homes]
    done: Counter[str] = Counter()
    with sweeping(server):
        for kill in range(6):
            for number in range(kill * 100, kill * 100 + 50):
                send(broker, str(number), 0.02)
            time.sleep(1.5)
            victim = kill % 2
            workers[victim].kill()
            if kill in {1, 4}:
                server.restart()
            for number in range(kill * 100 + 50, kill * 100 + 100):
                send(broker, str(number), 0.02)
            workers[victim] = WorkerProgram(server.url, homes[victim], threads=threads)
        broker.join("default", timeout=60_000)
    for worker in workers:
        worker.kill()
        done += Counter(names(worker.lines(), "done"))
    assert set(done) == {str(number) for number in range(600)}
    assert done.total() - 600 <= 6 * threads


@pytest.mark.faults
def test_a_worker_that_redis_does_not_answer_exits_for_a_restart(
    server: RedisServer, tmp_path: Path
) -> None:
    with (
        WorkerProgram(server.url, tmp_path / "one", TEST_WATCHDOG="3") as worker,
        short_timeouts(server.url) as client,
    ):
        eventually(lambda: blocked_consumers(client), 20)
        server.kill()
        # Dramatiq's main process ends with the code of its worker process. Its own last log line
        # is lost now and then: its log thread stops first.
        assert worker.wait(40) == EXIT_CODE
        assert "worker.stuck" in worker.log.read_text()

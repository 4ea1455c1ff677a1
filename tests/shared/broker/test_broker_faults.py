"""Real crashes: workers that are killed, a Redis that is killed, and what is kept through it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dramatiq
import pytest
from dramatiq import Message

from sandbox.redis import RedisServer
from shared.broker import DurableRedisBroker
from shared.broker.watchdog import EXIT_CODE
from shared.redis.client import connect
from tests.shared.broker.workshop import WorkerProgram, eventually, impatient, texts, working

pytestmark = pytest.mark.faults

PREFIX = "wpp:dramatiq"
BRISK = {"TEST_HEARTBEAT_TIMEOUT": "2000", "TEST_TICK_INTERVAL": "300"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Return a redis-server of this test's own, to be killed."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def broker(server: RedisServer) -> Iterator[DurableRedisBroker]:
    with connect(server.url) as client:
        yield DurableRedisBroker(client=client, heartbeat_timeout=2_000, tick_interval=300)


def notes(count: int, seconds: float) -> "list[Message[None]]":
    return [
        Message(
            queue_name="default", actor_name="note", args=(number, seconds), kwargs={}, options={}
        )
        for number in range(count)
    ]


def tally(lines: list[str], word: str) -> Counter[str]:
    return Counter(line.split()[1] for line in lines if line.startswith(word))


@pytest.mark.parametrize(
    ("environment", "within_s"),
    [pytest.param(BRISK, 8, id="brisk"), pytest.param({}, 30, id="defaults")],
)
def test_what_a_killed_worker_held_runs_within_30_s(
    environment: dict[str, str],
    within_s: float,
    server: RedisServer,
    broker: DurableRedisBroker,
    tmp_path: Path,
) -> None:
    """100 messages in the hands of a worker that is killed with -9, and one other worker, idle until then."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with WorkerProgram(server.url, tmp_path / "one", threads=50, **environment) as killed:
        broker.enqueue_many(notes(100, 3600))
        eventually(lambda: len(killed.lines()) == 50, 20)
        with WorkerProgram(server.url, tmp_path / "two", threads=100, **environment) as survivor:
            eventually(lambda: broker.client.zcard(f"{PREFIX}:alive:workers") == 2, 20)
            killed.kill()
            took_s = eventually(lambda: len(survivor.lines()) == 100, within_s)
            assert set(tally(survivor.lines(), "began").values()) == {1}
    print(f"100 messages of a killed worker began again after {took_s:.1f} s")  # noqa: T201 - shown on request


def test_a_terminated_worker_finishes_hands_back_and_exits_with_0(
    server: RedisServer, broker: DurableRedisBroker, tmp_path: Path
) -> None:
    with WorkerProgram(server.url, tmp_path, threads=2, **BRISK) as worker:
        sent = [message.message_id for message in broker.enqueue_many(notes(8, 1.5))]
        eventually(lambda: len(worker.lines()) == 2, 20)
        assert worker.terminate() == 0
        assert tally(worker.lines(), "done") == tally(worker.lines(), "began") == Counter("01")
    assert texts(broker.client.lrange(f"{PREFIX}:default", 0, -1)) == sent[2:]
    assert broker.client.keys(f"{PREFIX}:held:*") == []


def test_a_restart_of_redis_loses_delays_and_doubles_nothing(
    server: RedisServer, broker: DurableRedisBroker
) -> None:
    """What was running, ready or delayed while Redis was killed and away for longer than a heartbeat timeout."""
    runs: Counter[int] = Counter()
    ran_at: dict[int, float] = {}

    @dramatiq.actor(broker=broker)
    def run(number: int, seconds: float) -> None:
        runs[number] += 1
        ran_at[number] = time.monotonic()
        time.sleep(seconds)

    with working(broker, threads=2):
        broker.enqueue_many(run.message(number, 4) for number in range(4))
        run.send_with_options(args=(4, 0), delay=5_000)
        due = time.monotonic() + 5
        eventually(lambda: len(runs) == 2)
        server.kill()
        time.sleep(2.5)
        server.start()
        broker.join("default", timeout=20_000)
    assert runs == Counter(dict.fromkeys(range(5), 1))
    assert due - 0.1 <= ran_at[4] < due + 4.5, (
        "both threads were busy for as much as 4 s when it was due"
    )


def test_an_actor_that_fails_while_redis_is_away_runs_again(
    server: RedisServer, broker: DurableRedisBroker
) -> None:
    runs: Counter[int] = Counter()
    away = threading.Event()

    @dramatiq.actor(broker=broker, min_backoff=100, max_backoff=200)
    def fail_once(number: int) -> None:
        runs[number] += 1
        if runs[number] == 1:
            away.wait(10)
            raise RuntimeError

    with working(broker, threads=4):
        broker.enqueue_many(fail_once.message(number) for number in range(4))
        eventually(lambda: len(runs) == 4)
        server.kill()
        away.set()
        time.sleep(2.5)
        server.start()
        broker.join("default", timeout=20_000)
    assert runs == Counter(dict.fromkeys(range(4), 2))


def test_everything_runs_while_workers_and_redis_are_killed(
    server: RedisServer, tmp_path: Path
) -> None:
    """600 messages, two worker programs of which one or the other is killed six times, Redis twice.

    Nothing is lost; only what was running at a kill runs again.
    """
    client = connect(server.url)
    broker = DurableRedisBroker(client=client)
    homes = [tmp_path / name for name in ("one", "two")]
    for home in homes:
        home.mkdir()
    threads, kills = 4, 6
    workers = [WorkerProgram(server.url, home, threads=threads, **BRISK) for home in homes]
    try:
        for round_ in range(kills):
            messages = notes(600, 0.02)[round_ * 100 : (round_ + 1) * 100]
            broker.enqueue_many(messages[:50])
            time.sleep(1.5)
            victim = round_ % 2
            workers[victim].kill()
            if round_ in {1, 4}:
                server.restart()
            broker.enqueue_many(messages[50:])
            workers[victim] = WorkerProgram(server.url, homes[victim], threads=threads, **BRISK)
        broker.join("default", timeout=60_000)
    finally:
        for worker in workers:
            worker.kill()
        client.close()
    done = sum((tally(worker.lines(), "done") for worker in workers), Counter[str]())
    assert set(done) == {f"{number}" for number in range(600)}
    assert done.total() - 600 <= kills * threads


def test_a_worker_that_redis_does_not_answer_exits_for_a_restart(
    server: RedisServer, tmp_path: Path
) -> None:
    """The exit code asks the supervisor for a restart; the log line names the reason."""
    with (
        WorkerProgram(server.url, tmp_path, TEST_WATCHDOG="3") as worker,
        impatient(server.url) as client,
    ):
        eventually(lambda: client.zcard(f"{PREFIX}:alive:workers"), 20)
        server.kill()
        assert worker.wait(20) == EXIT_CODE
        log = worker.log.read_text()
    assert "worker.stuck" in log

"""A process names what keeps it from starting, stops on signals, ends when a thread fails."""

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog

from sandbox.redis import RedisServer
from workers.process import (
    EXIT_CONFIG,
    EXIT_SOFTWARE,
    GARBAGE,
    STOP_SIGNALS,
    SupervisedThreads,
    collect_rarely,
    on_stop_signal,
)

WITHOUT = ("WPP_", "SUPABASE_", "REDIS_")
ENOUGH = {
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_ANON_KEY": "anon",
    "SUPABASE_SERVICE_ROLE_KEY": "service",
    "WPP_BASE_URL": "http://127.0.0.1:9",
    "WPP_SECRET": "secret",
    "WPP_KEY_SECRETS": "k" * 32,
    "WPP_PUBLIC_URL": "http://127.0.0.1:9",
}
WEB, WORKER, RECORD, CLOCK, SINGLE = (
    ["-m", "workers.ingress", "--port", "0"],
    ["-c", "import workers.main"],
    ["-m", "workers.recorder"],
    ["-m", "workers.clock"],
    ["-m", "workers.single"],
)
PROGRAMS = [WEB, WORKER, RECORD, CLOCK, SINGLE]


def start(program: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(WITHOUT)
    } | settings
    return subprocess.run(
        [sys.executable, *program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("program", "name", "value"),
    [
        (WEB, "WPP_KEY_SECRETS", "too short"),
        (WEB, "WPP_BODY_LIMIT", "much"),
        (WEB, "WPP_PAGE_PARENTS", "everybody"),
        (WEB, "WPP_LEASE_S", "0"),
        (WEB, "WPP_LOG_FORMAT", "poem"),
        (WORKER, "WPP_LOG_FORMAT", "poem"),
        (WORKER, "WPP_MEDIA_LIMIT", "much"),
        (CLOCK, "WPP_BASE_URL", "nowhere"),
        (RECORD, "SUPABASE_URL", "nowhere"),
        *((program, "REDIS_URL", "localhost:6379") for program in PROGRAMS),
    ],
)
def test_a_wrong_setting_is_named(
    redis_server: RedisServer, program: list[str], name: str, value: str
) -> None:
    """The process exits at start, also for a setting that only a later step reads."""
    done = start(program, **{"REDIS_URL": redis_server.url, **ENOUGH, name: value})
    assert done.returncode == EXIT_CONFIG, done.stdout + done.stderr
    assert f"cannot start: {name}: " in done.stdout
    assert value not in done.stdout or name not in {"WPP_KEY_SECRETS", "REDIS_URL"}
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_a_wrong_redis_url_is_named_without_its_password(
    redis_server: RedisServer, program: list[str]
) -> None:
    """Also where Redis itself has to say what is wrong: the password, the database."""
    for url, fault in (
        ("redis://:hunter2#x@{host}/0", "it contains '#'"),
        ("redis://:hunter2@{host}/0?foo=bar", "it has an unknown option"),
        ("redis://nobody:hunter2@{host}/0", "Redis refuses it: invalid username-password pair"),
        ("redis://{host}/99", "Redis refuses it: DB index is out of range"),
    ):
        redis_url = url.format(host=f"127.0.0.1:{redis_server.port}")
        done = start(program, **ENOUGH, REDIS_URL=redis_url)
        assert done.returncode == EXIT_CONFIG, done.stdout + done.stderr
        assert f"cannot start: REDIS_URL: {fault}" in done.stdout
        assert "hunter" not in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture
def restored_signals() -> Iterator[None]:
    """Restore the handlers of pytest after the test."""
    handlers = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", STOP_SIGNALS)
@pytest.mark.usefixtures("restored_signals")
def test_a_stop_signal_calls_the_newest_handler(signum: signal.Signals) -> None:
    """The second handler replaces the first; the third runs before the second."""
    calls: list[str] = []
    on_stop_signal(lambda: calls.append("first"))
    on_stop_signal(lambda: calls.append("second"))
    on_stop_signal(lambda: calls.append("third"), chain=True)
    signal.raise_signal(signum)
    assert calls == ["third", "second"]


def test_all_threads_end_when_the_process_stops() -> None:
    threads = SupervisedThreads()
    ended: list[str] = []

    def work(name: str) -> None:
        threads.stopping.wait()
        ended.append(name)

    threads.start(work, "a")
    threads.start(work, "b")
    threading.Timer(0.05, threads.stopping.set).start()
    threads.run(work, "main")
    assert threads.join() == 0
    assert sorted(ended) == ["a", "b", "main"]


def test_a_thread_that_fails_is_logged_and_stops_the_process() -> None:
    """A process with a dead thread would look alive to its supervisor."""
    threads = SupervisedThreads()

    def fail() -> None:
        raise ZeroDivisionError

    with structlog.testing.capture_logs() as logs:
        threads.start(fail)
        threads.run(threads.stopping.wait)
        assert threads.join() == EXIT_SOFTWARE
    assert [(line["event"], line["log_level"]) for line in logs] == [("process.failed", "critical")]


@pytest.fixture
def usual_collections() -> Iterator[None]:
    """Put the garbage collector back to what it was."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("usual_collections")
def test_what_the_start_made_is_left_out_of_collections() -> None:
    """What comes later is collected, cycles too."""
    kept: list[dict[str, str]] = [{} for _ in range(1000)]
    collect_rarely()
    assert gc.get_freeze_count() > len(kept)
    assert gc.get_threshold() == GARBAGE
    found = gc.collect()
    cycles: list[list[object]] = [[] for _ in range(1000)]
    for cycle in cycles:
        cycle.append(cycle)
    del cycles, cycle
    assert gc.collect() >= found + 1000

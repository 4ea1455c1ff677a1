"""What every process does alike: startup errors, exit codes, garbage, stop signals, threads."""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import redis
import structlog

from shared.errors import ConfigurationError
from shared.redis import CONNECTION_ERRORS, explain_outage, is_transient

EXIT_SOFTWARE = 70
"""EX_SOFTWARE of sysexits.h: a thread ended with an error."""
EXIT_UNAVAILABLE = 75
"""EX_TEMPFAIL: Redis does not answer; a later start may succeed."""
EXIT_CONFIG = 78
"""EX_CONFIG: a setting is missing or invalid; no start succeeds until it is changed."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

FIRST_WORKER = "Process-1"
"""Name of the first child of a master of Dramatiq."""

GARBAGE = (20_000, 20, 20)
"""New objects until a collection begins, and collections until one looks at older objects."""

JOIN_TIMEOUT_S = 10.0
"""How long a stopping process waits for each of its threads."""

log = structlog.get_logger()


@contextmanager
def exit_on_startup_error() -> Iterator[None]:
    """Log an error of the startup as a single line, and exit with its code."""
    try:
        yield
    except ConfigurationError as error:
        _exit(str(error), EXIT_CONFIG)
    except redis.RedisError as error:
        if is_transient(error) and not isinstance(error, redis.AuthenticationError):
            _exit(explain_redis_outage(error), EXIT_UNAVAILABLE)
        if not isinstance(error, (redis.AuthenticationError, redis.ResponseError)):
            raise
        _exit(f"cannot start: REDIS_URL: Redis refuses it: {error}. See .env.example.", EXIT_CONFIG)


def _exit(reason: str, code: int) -> NoReturn:
    """Log the reason and exit.

    Of the workers of a master of Dramatiq, which have the same settings, the first says what is
    wrong with them. The master is asked to stop: otherwise a line of its own would be the last.
    """
    master = multiprocessing.parent_process()
    first = master is None or multiprocessing.current_process().name == FIRST_WORKER
    if first or code != EXIT_CONFIG:
        log.critical("process.cannot_start", reason=reason)
        if master and master.pid:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the master passes it to its workers
            os.kill(master.pid, signal.SIGTERM)
    raise SystemExit(code) from None


def explain_redis_outage(error: redis.RedisError) -> str:
    """Return a sentence for an operator: Redis cannot be reached."""
    if isinstance(error, CONNECTION_ERRORS):
        return f"Redis does not answer: {error}. Is REDIS_URL right, and is it running?"
    return f"{explain_outage(error)}: {error}."


def collect_rarely() -> None:
    """Leave what exists by now out of garbage collections, and collect less often.

    Most of it stays as long as the process: looking through it took a tenth of a request's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def on_stop_signal(call: Callable[[], object], *, chain: bool = False) -> None:
    """Call `call` at SIGTERM and SIGINT; with `chain`, the handlers of before run after it.

    Works in the main thread only.
    """
    for signum in STOP_SIGNALS:
        previous = signal.getsignal(signum) if chain else None

        def handle(number: int, frame: FrameType | None, previous: Any = previous) -> None:
            call()
            if callable(previous):
                previous(number, frame)

        signal.signal(signum, handle)


class SupervisedThreads:
    """The threads of a process: the first that fails stops all, and a supervisor restarts it."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._failed = False
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[..., object], *arguments: Any) -> None:
        """Run `work`, which returns once `stopping` is set, in a thread of its own."""
        thread = threading.Thread(
            target=self.run, args=(work, *arguments), name=work.__qualname__, daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def run(self, work: Callable[..., object], *arguments: Any) -> None:
        """Run `work` in the calling thread."""
        try:
            work(*arguments)
        except Exception:
            log.critical("process.failed", work=work.__qualname__, exc_info=True)
            self._failed = True
            self.stopping.set()

    def join(self) -> int:
        """Wait for each thread, for at most `JOIN_TIMEOUT_S`; return the exit code."""
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT_S)
        return EXIT_SOFTWARE if self._failed else 0

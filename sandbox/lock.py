"""A lock per folder of a local world, and the signals that end it."""

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

from sandbox.errors import SandboxError

Handler = Callable[[int, FrameType | None], object] | signal.Handlers
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Hold a lock in `directory` until the block ends; the kernel releases it with the process.

    Raises:
        SandboxError: another process holds the lock.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read() or "unknown"
            msg = f"the local world in {directory} is already running (pid {pid})"
            raise SandboxError(msg) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextlib.contextmanager
def exit_on_stop_signals() -> Iterator[None]:
    """Turn stop signals into exceptions, so that `with` blocks stop what they started.

    SIGINT gets its handler here because a shell that starts a program in the background of a
    script ignores SIGINT for it.
    """

    def exit_process(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    with _handle_signals(
        {
            signal.SIGINT: signal.default_int_handler,
            signal.SIGTERM: exit_process,
            signal.SIGHUP: exit_process,
        }
    ):
        yield


@contextlib.contextmanager
def ignore_stop_signals() -> Iterator[None]:
    """Ignore a second Ctrl-C while the parts are stopped."""
    with _handle_signals(dict.fromkeys(STOP_SIGNALS, signal.SIG_IGN)):
        yield


@contextlib.contextmanager
def _handle_signals(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

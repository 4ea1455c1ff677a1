"""The signals that end a program: they unwind its blocks, also in the background of a script.

A shell that starts a program in the background of a script ignores SIGINT for it, and Python then
leaves it ignored. An ignored SIGHUP stays ignored: `nohup` asks for that.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import NoReturn

SignalHandler = Callable[[int, FrameType | None], object] | signal.Handlers
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def accept_interrupts() -> None:
    """Let SIGINT raise KeyboardInterrupt from now on, where the caller ignored it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def exit_on_stop_signals() -> Iterator[None]:
    """Turn stop signals into exceptions, so that `with` blocks stop what they started."""

    def exit_process(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    handlers: dict[signal.Signals, SignalHandler] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: exit_process,
    }
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handlers[signal.SIGHUP] = exit_process
    with _handle_signals(handlers):
        yield


@contextlib.contextmanager
def ignore_stop_signals() -> Iterator[None]:
    """Ignore a second Ctrl-C while a program stops."""
    with _handle_signals(dict.fromkeys(STOP_SIGNALS, signal.SIG_IGN)):
        yield


@contextlib.contextmanager
def _handle_signals(handlers: Mapping[signal.Signals, SignalHandler]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

"""A folder holds a single local world, and signals end it in order."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.lock import STOP_SIGNALS, exit_on_stop_signals, ignore_stop_signals, lock_directory


@pytest.fixture(autouse=True)
def restored_signals() -> Iterator[None]:
    """Restore the handlers of pytest after the test."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_second_world_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """The error names the process that holds the folder; afterwards the folder is free."""
    refused = pytest.raises(SandboxError, match=f"already running \\(pid {os.getpid()}\\)")
    with lock_directory(tmp_path), refused, lock_directory(tmp_path):
        pass
    with lock_directory(tmp_path):
        pass


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_signal_unwinds_the_block(number: signal.Signals) -> None:
    """SIGINT arrives as KeyboardInterrupt, SIGTERM and SIGHUP as SystemExit with 128 + number."""
    expected = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(expected) as stopped, exit_on_stop_signals():
        signal.raise_signal(number)
    if isinstance(stopped.value, SystemExit):
        assert stopped.value.code == 128 + number


def test_sigint_works_where_the_caller_ignored_it() -> None:
    """`make up &` in a script starts with SIGINT ignored; the handler of before is restored."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(KeyboardInterrupt), exit_on_stop_signals():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_no_signal_disturbs_the_stop(number: signal.Signals) -> None:
    with exit_on_stop_signals(), ignore_stop_signals():
        signal.raise_signal(number)

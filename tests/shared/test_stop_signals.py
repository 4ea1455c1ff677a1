"""Stop signals unwind the blocks of a program, also where its caller ignored SIGINT."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.stop_signals import (
    STOP_SIGNALS,
    accept_interrupts,
    exit_on_stop_signals,
    ignore_stop_signals,
)
from tests.fixtures.background import in_background

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def restored_signals() -> Iterator[None]:
    """Restore the handlers of pytest after the test; `nohup make test` ignores SIGHUP."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


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
    accept_interrupts()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_nohup_is_respected() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with exit_on_stop_signals():
        signal.raise_signal(signal.SIGHUP)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_no_signal_disturbs_the_stop(number: signal.Signals) -> None:
    with exit_on_stop_signals(), ignore_stop_signals():
        signal.raise_signal(number)


@pytest.mark.parametrize("program", ["import tests.conftest", "import bench"])
def test_programs_of_the_repository_accept_sigint_in_the_background(program: str) -> None:
    """The tests and the benchmarks: what they start is stopped by SIGINT as well."""
    code = f"{program}, signal; raise SystemExit(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
    command = in_background([sys.executable, "-c", code])
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, check=False)
    assert done.returncode == 0

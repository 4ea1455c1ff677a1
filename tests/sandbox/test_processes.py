"""A program is started, awaited, stopped and killed; it dies with its parent."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from sandbox.errors import SandboxError
from sandbox.processes import Process, Program

FOREVER = (sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)")
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('here', flush=True); time.sleep(600)"
)


def start(tmp_path: Path, *command: str, stop_within_s: float = 10) -> Process:
    """Start a program that prints "here" when it is ready, and wait for that."""
    log = tmp_path / "log"
    process = Process(Program("the program", command, log, stop_within_s=stop_within_s))
    process.wait_until(lambda: "here" in process.program.log.read_text(), within_s=10)
    return process


def has_ended(pid: int) -> bool:
    for _ in range(2000):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


def test_stop_ends_a_program(tmp_path: Path) -> None:
    process = start(tmp_path, *FOREVER)
    process.stop()
    assert has_ended(process.pid)


def test_stop_kills_a_program_that_ignores_the_signal(tmp_path: Path) -> None:
    process = start(tmp_path, sys.executable, "-c", STUBBORN, stop_within_s=0.1)
    process.stop()
    assert has_ended(process.pid)


def test_the_error_of_a_dead_program_has_the_end_of_its_log(tmp_path: Path) -> None:
    process = Process(
        Program(
            "the program", (sys.executable, "-c", "raise SystemExit('no disk')"), tmp_path / "log"
        )
    )
    with pytest.raises(SandboxError, match=r"(?s)the program stopped with status 1.*no disk"):
        process.wait_until(lambda: False, within_s=10)


def test_a_program_that_does_not_become_ready_is_an_error(tmp_path: Path) -> None:
    process = start(tmp_path, *FOREVER)
    with pytest.raises(SandboxError, match=r"not ready within 0 s(?s:.*)here"):
        process.wait_until(lambda: False, within_s=0.05)
    process.stop()


def test_a_missing_program_is_an_error(tmp_path: Path) -> None:
    process = Process(Program("the program", ("/no/such/program",), tmp_path / "log"))
    with pytest.raises(SandboxError, match="No such file"):
        process.wait_until(lambda: False, within_s=10)


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """The kernel ties a child to a thread of its parent: a thread that never ends starts it."""
    made: list[Process] = []
    thread = threading.Thread(target=lambda: made.append(start(tmp_path, *FOREVER)))
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert made[0].alive
    made[0].stop()


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """Also when the parent is killed and cannot stop it."""
    script = f"""
        from pathlib import Path
        from sandbox.processes import Process, Program
        process = Process(Program("child", {FOREVER!r}, Path({str(tmp_path / "log")!r})))
        process.wait_until(lambda: "here" in process.program.log.read_text(), within_s=10)
        print(process.pid, flush=True)
        input()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        assert has_ended(child)


def test_ctrl_c_does_not_reach_a_child(tmp_path: Path) -> None:
    """A child has its own session, which the terminal's signals do not reach."""
    process = start(tmp_path, *FOREVER)
    assert os.getsid(process.pid) != os.getsid(0)
    process.stop()

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from sandbox.errors import PortTakenError, SandboxError
from sandbox.ports import FIRST, LOCALHOST, claim, free_port
from sandbox.processes import Process, Program

FOREVER = (sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)")
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"


def started(tmp_path: Path, *command: str) -> Process:
    """Start a program that prints when it is ready, and wait for that."""
    process = Process(Program("the program", command, tmp_path / "log"))
    process.wait_until(lambda: "here" in process.program.log.read_text(), within_s=10)
    return process


def gone(pid: int) -> bool:
    for _ in range(500):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


def test_stops_when_asked(tmp_path: Path) -> None:
    process = started(tmp_path, *FOREVER)
    process.stop()
    assert gone(process.pid)


def test_ends_one_that_does_not_stop(tmp_path: Path) -> None:
    process = started(tmp_path, sys.executable, "-c", STUBBORN)
    process.stop(within_s=0.1)
    assert gone(process.pid)


def test_says_how_a_program_died_with_the_end_of_its_log(tmp_path: Path) -> None:
    process = Process(
        Program(
            "the program", (sys.executable, "-c", "raise SystemExit('no disk')"), tmp_path / "log"
        )
    )
    with pytest.raises(SandboxError, match=r"(?s)the program stopped with status 1.*no disk"):
        process.wait_until(lambda: False, within_s=10)


def test_says_when_a_program_does_not_become_ready(tmp_path: Path) -> None:
    process = started(tmp_path, *FOREVER)
    with pytest.raises(SandboxError, match=r"not ready within 0 s(?s:.*)here"):
        process.wait_until(lambda: False, within_s=0.05)
    process.stop()


def test_says_when_a_program_does_not_exist(tmp_path: Path) -> None:
    process = Process(Program("the program", ("/no/such/program",), tmp_path / "log"))
    with pytest.raises(SandboxError, match="No such file"):
        process.wait_until(lambda: False, within_s=10)


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """The kernel ties a child to the thread of its parent: ours is one that lasts."""
    made: list[Process] = []
    thread = threading.Thread(target=lambda: made.append(started(tmp_path, *FOREVER)))
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert made[0].alive
    made[0].stop()


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """Even when the parent is killed and can't say goodbye."""
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
        assert gone(child)


def test_ctrl_c_reaches_us_alone(tmp_path: Path) -> None:
    """A child is in a session of its own: the terminal's signals don't stop it behind our back."""
    process = started(tmp_path, *FOREVER)
    assert os.getsid(process.pid) != os.getsid(0)
    process.stop()


def test_free_ports_are_free_and_differ() -> None:
    found = [free_port() for _ in range(20)]
    assert len(set(found)) == 20
    assert min(found) >= FIRST
    assert max(found) < 32_768


def test_a_taken_port_is_named_with_who_holds_it() -> None:
    with socket.create_server((LOCALHOST, 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(
            PortTakenError,
            match=rf"port {port}, needed by the shop, is taken by .*pid {os.getpid()}",
        ):
            claim("the shop", port)


def test_a_port_that_becomes_free_is_waited_for() -> None:
    holder = socket.create_server((LOCALHOST, 0))
    port = holder.getsockname()[1]
    threading.Timer(0.2, holder.close).start()
    claim("the shop", port)

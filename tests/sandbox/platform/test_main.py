"""`python -m sandbox.platform` as a process of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from sandbox.ports import free_port
from sandbox.processes import Process, Program, responds_ok
from tests.fixtures.waiting import wait_until
from tests.sandbox.platform.conftest import SECRET, Number


@contextmanager
def running(folder: Path, port: int) -> Iterator[Process]:
    """Run it with options on the command line, its state in `folder`."""
    options = [
        "--port",
        str(port),
        "--state",
        str(folder / "state"),
        "--secret",
        SECRET,
        "--starting-s",
        "0",
    ]
    command = (
        sys.executable,
        "-m",
        "sandbox.platform",
        *options,
        "--sent-s",
        "0",
        "--no-expires-in",
    )
    process = Process(Program("platform", command, folder / "platform.log", port))
    try:
        process.wait_until(lambda: responds_ok(f"http://127.0.0.1:{port}/health"), within_s=20)
        yield process
    finally:
        process.kill()


def test_a_killed_platform_has_what_it_answered(tmp_path: Path) -> None:
    """Accounts, links and messages survive kill -9; a stop by SIGTERM leaves the log empty."""
    port = free_port()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
        with running(tmp_path, port) as process:
            number = Number(http).connect()
            tasks = [number.send(str(index)).json()["taskId"] for index in range(50)]
            process.kill()
        with running(tmp_path, port) as process:
            assert number.status() == "connected"
            messages = http.get("/admin/ledger").json()["messages"]
            assert [message["taskId"] for message in messages] == tasks
            assert set(http.post("/auth/token", json={"apiKey": number.api_key}).json()) == {
                "token"
            }
            process.stop()
            wait_until(lambda: not process.alive)
    assert (tmp_path / "platform.log").read_text() == ""

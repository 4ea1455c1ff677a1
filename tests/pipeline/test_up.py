"""`wpp up` for a person: started, stopped, and with errors."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from sandbox.ports import LOCALHOST
from sandbox.redis import RedisServer
from tests.conftest import TOOLS
from tests.fixtures.background import in_background

GONE_S = 45
ROOT = Path(__file__).parents[2]
WPP = Path(sys.executable).parent / "wpp"
MAKE_UP = f"""
make -f {ROOT}/Makefile -o .venv/ready -o site/index.html up &
trap 'kill $!; wait $!; echo "status $?"' EXIT
read -r
"""
"""A script that stops `make up &` as README says, at the end of its input; both files exist."""


@pytest.fixture
def home(open_directory: Path) -> Path:
    """Return a directory for a local world, with the installed tools."""
    directory = open_directory / f"up-{time.monotonic_ns()}"
    directory.mkdir()
    (directory / "tools").symlink_to(TOOLS)
    return directory


def first_of_six_free() -> int:
    while True:
        first = random.randrange(18_000, 31_000)  # noqa: S311 - any will do
        try:
            for port in range(first, first + 6):
                with socket.create_server((LOCALHOST, port)):
                    pass
        except OSError:
            continue
        return first


@contextmanager
def up(home: Path, first: int) -> Iterator[subprocess.Popen[str]]:
    """Run `wpp up` as a script does in its background: SIGINT is ignored, no setting is inherited.

    It is stopped at the end of the block if it still runs.
    """
    command = in_background([str(WPP), "up", "--directory", str(home)])
    with started(command, Path.cwd(), first) as program:
        yield program


@contextmanager
def started(command: list[str], folder: Path, first: int) -> Iterator[subprocess.Popen[str]]:
    """Run a program in a folder without the settings of this process, and stop it at the end."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WPP_", "SUPABASE_", "REDIS_", "MAKE"))
    }
    environment["PATH"] = f"{WPP.parent}:{environment['PATH']}"
    program = subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, "WPP_FIRST_PORT": str(first), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield program
    finally:
        if program.poll() is None:
            program.send_signal(signal.SIGTERM)
            program.communicate(timeout=GONE_S)


def read_until(program: subprocess.Popen[str], word: str) -> str:
    """Return the output up to the line with `word`."""
    assert program.stdout
    written = ""
    for line in program.stdout:
        written += line
        if word in line:
            return written
    pytest.fail(f"it ended without {word!r}:\n{written}")


def in_another_terminal(home: Path, command: str) -> str:
    """Return the output of a command in a shell that has read the `env` file of the summary."""
    bare = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ} | {
        "PATH": "/usr/bin:/bin"
    }
    done = subprocess.run(
        ["/bin/bash", "-c", f". {home}/env && {command}"],
        env=bare,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def descendants(program: subprocess.Popen[str]) -> list[psutil.Process]:
    return list(psutil.Process(program.pid).children(recursive=True))


def is_recorder(process: psutil.Process) -> bool:
    """Return whether it is the recorder; workers of Postgres end between listing and look."""
    try:
        return bool(process.cmdline()[-2:] == ["-m", "workers.recorder"])
    except psutil.NoSuchProcess:
        return False


def left_of(processes: list[psutil.Process]) -> list[str]:
    _, alive = psutil.wait_procs(processes, timeout=10)
    return [process.name() for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_it_prints_the_addresses_and_leaves_no_process(home: Path) -> None:
    """It prints a key and a command for each flow; SIGINT ends every process that it started."""
    first = first_of_six_free()
    with up(home, first) as program:
        shown = read_until(program, "Ctrl-C stops everything")
        for needed in (
            f"{LOCALHOST}:{first}",
            "KEY=wpk_",
            "/console",
            "OPERATOR_KEY=wpo_",
            "/v1/integrations",
            "/v1/messages",
            "/phone",
            "/env",
        ):
            assert needed in shown
        processes = descendants(program)
        assert len(processes) > 10
        assert (home / "env").stat().st_mode & 0o777 == 0o600
        assert "outcomes on their way" in in_another_terminal(home, "wpp lanes")
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=GONE_S)
        assert program.returncode == 0
    assert left_of(processes) == []
    assert not (home / "env").exists()


def test_kill_stops_make_up_in_the_background_of_a_script(home: Path) -> None:
    """SIGTERM to `make`, which ignores SIGINT there, ends every process that it started."""
    (home / ".local").mkdir()
    (home / ".local" / "tools").symlink_to(TOOLS)
    with started(["bash", "-c", MAKE_UP], home, first_of_six_free()) as script:
        read_until(script, "Ctrl-C stops everything")
        processes = descendants(script)
        assert "make" in {process.name() for process in processes}
        assert len(processes) > 10
        shown, _ = script.communicate("\n", timeout=GONE_S)
        assert f"status {128 + signal.SIGTERM}" in shown
    assert left_of(processes) == []


def test_a_part_that_dies_is_named_and_everything_ends(home: Path) -> None:
    """The error names the killed process and its log; every other process is stopped."""
    with up(home, first_of_six_free()) as program:
        read_until(program, "Ctrl-C stops everything")
        processes = descendants(program)
        next(filter(is_recorder, processes)).kill()
        rest, _ = program.communicate(timeout=GONE_S)
        assert program.returncode == 1
        assert "record.1 stopped" in rest
        assert "pipeline.log" in rest
        assert "Traceback" not in rest
    assert left_of(processes) == []


def test_a_taken_port_is_named(home: Path) -> None:
    """The error names port, program, holder and the setting that moves the ports."""
    first = first_of_six_free()
    with socket.create_server((LOCALHOST, first + 3)), up(home, first) as program:
        shown, _ = program.communicate(timeout=GONE_S)
    assert program.returncode == 2
    assert f"port {first + 3}, needed by redis-server, is taken by" in shown
    assert "WPP_FIRST_PORT=" in shown
    assert "Traceback" not in shown


def test_an_address_without_its_keys_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of a real Supabase needs its keys, at the start."""
    monkeypatch.setenv("SUPABASE_URL", "https://example.supabase.co")
    environment = {**os.environ, "WPP_FIRST_PORT": str(first_of_six_free())}
    command = [str(WPP), "up", "--directory", str(home)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "SUPABASE_ANON_KEY and SUPABASE_SERVICE_ROLE_KEY must be set too" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WPP_LEASE_S", "0"),
        ("SEND_THREADS", "many"),
        ("SEND_PROCESSES", "-1"),
        ("PORT", "99999"),
        ("WPP_KEY_SECRETS", "too short"),
        ("WPP_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_setting_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The last line names it, once, and nothing was started."""
    monkeypatch.setenv(name, value)
    environment = {**os.environ, "WPP_FIRST_PORT": str(first_of_six_free())}
    command = [str(WPP), "up", "--directory", str(home)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].count(name) == 1
    assert "starting" not in done.stdout
    assert "Traceback" not in done.stderr


def test_a_volatile_redis_is_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the reason and the remedy, before the pipeline starts."""
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.config_set("appendonly", "no")
        monkeypatch.setenv("REDIS_URL", server.url)
        environment = {**os.environ, "WPP_FIRST_PORT": str(first_of_six_free())}
        command = [str(WPP), "up", "--directory", str(home)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert "appendonly is off: a restart loses all data (set `appendonly yes`)" in done.stderr
    assert "Traceback" not in done.stderr

"""README and the docs are true: their commands run as written."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from sandbox.supabase.seed import ORGANIZATION
from tests.fixtures.system import System, connect_integration
from workers.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
STREAM_S = 3
"""How long an example reads a stream, which does not end."""
TIMED_OUT = 28
"""The status of curl then."""


def read(pages: Iterable[Path]) -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def find_commands(program: str) -> list[str]:
    """Return the command lines of a program in the console blocks of every page."""
    return [
        command.replace("\\\n", " ").strip()
        for _, language, text in BLOCK.findall(read(PAGES))
        if language == "console"
        for command in re.findall(rf"^ *({program} (?:.*\\\n)*.*)$", text, re.MULTILINE)
    ]


TEXT = read(ROOT / page for page in ("README.md", "docs/api.md", "docs/operating.md"))
CURLS = find_commands("curl")


@pytest.fixture(scope="module")
def demo(system: System) -> Iterator[UUID]:
    """Return the demo organization with its integration connected; examples leave no callback."""
    connect_integration(system, ORGANIZATION)
    yield ORGANIZATION
    with system.service_client(ORGANIZATION) as crm:
        for callback in crm.get("/v1/callbacks").raise_for_status().json():
            crm.delete(f"/v1/callbacks/{callback['id']}").raise_for_status()


def run(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a reader does who has `wpp` on the path."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, **environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_every_page_with_curl_is_read() -> None:
    named = {page.stem for page in PAGES if "curl " in read([page])}
    assert {"README", "api", "reading", "events", "sending", "callbacks"} <= named
    assert len(CURLS) >= 8


@pytest.mark.parametrize("command", CURLS)
def test_every_curl_works(system: System, demo: UUID, tmp_path: Path, command: str) -> None:
    """Each request succeeds; only the address differs from what a reader types.

    A stream answers 200, and goes on until the time is up.
    """
    (tmp_path / "price-list.pdf").write_bytes(b"%PDF-1.7\n%%EOF\n")
    is_stream = " -N " in command
    options = f"-sS --fail -w ' %{{http_code}}' --max-time {STREAM_S if is_stream else 30}"
    ctx = command.replace("localhost:8000", system.url.removeprefix("http://")).replace(
        "curl ", f"curl {options} ", 1
    )
    done = run(tmp_path, ctx, KEY=system.make_key(demo))
    assert done.returncode == (TIMED_OUT if is_stream else 0), done.stderr
    assert re.search(" 20[0-9]$", done.stdout)


@pytest.mark.parametrize("command", find_commands("wpp"))
def test_every_command_of_wpp_works(system: System, tmp_path: Path, command: str) -> None:
    done = run(tmp_path, command, **system.environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_python_example_works(system: System, demo: UUID) -> None:
    """The producer's example enqueues, with the address of this Redis."""
    assert isinstance(demo, UUID)
    (example,) = [text for _, language, text in BLOCK.findall(TEXT) if language == "python"]
    ctx = example.replace("redis://127.0.0.1:8003/0", system.environment["REDIS_URL"])
    assert ctx != example, "the example names another Redis than `make up` starts"
    done = subprocess.run(
        [sys.executable, "-c", ctx],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "state='" in done.stdout


def test_every_route_is_named(system: System) -> None:
    """The page of the API names every route."""
    described = httpx.get(f"{system.url}/openapi.json").raise_for_status().json()
    assert described["paths"]
    named = re.sub(r"\{\w+\}", "{id}", TEXT)
    for path in described["paths"]:
        short = re.sub(r"\{\w+\}", "{id}", path)
        last = re.sub(r"^/v1/(integrations|callbacks|messages)/\{id\}", "", short)
        assert any(f"{name}`" in named for name in (short, f"…/{{id}}{last}", f"…{last}")), path


def test_every_command_of_wpp_is_documented() -> None:
    """The table has every command of `wpp`, and every command in the table exists."""
    commands = {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback
    } | {group.name for group in app.registered_groups}
    assert set(re.findall(r"^\| `wpp ([a-z]+)", TEXT, re.MULTILINE)) == commands - {"up"}

"""README and the pages of the API and of operating it are true: their commands run as written."""

import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from sandbox.supabase.seed import ORGANIZATION
from tests.fixtures.system import System, connect_integration
from workers.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/api.md", "docs/operating.md")
TEXT = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
BLOCKS = re.findall(r"^( *)```(\w+)\n(.*?)^ *```", TEXT, re.MULTILINE | re.DOTALL)
CURLS = [
    command.replace("\\\n", " ").strip()
    for _, language, text in BLOCKS
    if language == "console"
    for command in re.findall(r"^ *(curl (?:.*\\\n)*.*)$", text, re.MULTILINE)
]


@pytest.fixture(scope="module")
def demo(system: System) -> UUID:
    """Return the demo organization with its integration connected."""
    connect_integration(system, ORGANIZATION)
    return ORGANIZATION


@pytest.mark.parametrize("command", CURLS)
def test_every_curl_works(system: System, demo: UUID, command: str) -> None:
    """Each request succeeds; only the address differs from what a reader types."""
    ctx = command.replace("localhost:8000", system.url.removeprefix("http://")).replace(
        "curl ", "curl -sS --fail ", 1
    )
    environment = {**os.environ, "KEY": system.make_key(demo)}
    done = subprocess.run(
        ["bash", "-c", ctx],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_python_example_works(system: System, demo: UUID) -> None:
    """The producer's example enqueues, with the address of this Redis."""
    assert isinstance(demo, UUID)
    (example,) = [text for _, language, text in BLOCKS if language == "python"]
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

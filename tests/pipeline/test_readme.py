"""The README is true: its commands run as written."""

import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from sandbox.supabase.seed import ORGANIZATION
from shared import signed_keys
from tests.fixtures.system import System, connect_integration
from workers.cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^( *)```(\w+)\n(.*?)^ *```", README, re.MULTILINE | re.DOTALL)
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
    environment = {**os.environ, "KEY": signed_keys.make_service_key(demo, system.secrets)}
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
    """The README names every route of the API."""
    described = httpx.get(f"{system.url}/openapi.json").raise_for_status().json()
    assert described["paths"]
    for path in described["paths"]:
        short = re.sub(r"\{\w+\}", "{id}", path)
        last = short.removeprefix("/v1/integrations/{id}")
        assert any(f"{name}`" in README for name in (short, f"…/{{id}}{last}", f"…{last}")), path


def test_every_command_of_wpp_is_documented() -> None:
    """The table has every command of `wpp`, and every command in the table exists."""
    commands = {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback
    } | {group.name for group in app.registered_groups}
    assert set(re.findall(r"^\| `wpp ([a-z]+)", README, re.MULTILINE)) == commands - {"up"}


def test_every_make_command_exists() -> None:
    """Every `make` command in the README is a target of the Makefile."""
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_every_file_that_is_linked_exists() -> None:
    """Every linked file exists."""
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target

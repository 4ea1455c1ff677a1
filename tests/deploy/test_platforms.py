"""A platform with a Procfile, and a machine without Docker, find the packages."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_platform_installs_what_the_image_installs() -> None:
    """It reads `requirements.txt` of the root; each package has its hash."""
    assert (ROOT / "requirements.txt").read_text(encoding="utf-8") == "-r requirements/run.txt\n"
    packages = (ROOT / "requirements" / "run.txt").read_text(encoding="utf-8")
    found = re.findall(r"^[a-z].*\n.*", packages, re.MULTILINE | re.IGNORECASE)
    assert found
    assert [each for each in found if "--hash=sha256:" not in each] == []


def test_the_page_installs_the_same_packages() -> None:
    """The unit of systemd starts a program of that environment."""
    page = (ROOT / "docs" / "platforms.md").read_text(encoding="utf-8")
    [folder] = re.findall(r"^WorkingDirectory=(\S+)$", page, re.MULTILINE)
    [started] = re.findall(r"^ExecStart=(\S+)/bin/dramatiq ", page, re.MULTILINE)
    [made] = re.findall(r"^cd (\S+) && python3 -m venv (\S+) && ", page, re.MULTILINE)
    assert f"{folder}/.venv" == started == "/".join(made)
    assert "pip install --require-hashes -r requirements/run.txt" in page

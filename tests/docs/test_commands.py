"""Commands that README and docs name exist, with their options."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from workers.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
WPP: Any = typer.main.get_command(app)


def find_commands(page: Path, program: str) -> list[str]:
    """Return the command lines of a program in a page's code, one per line."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    code = "\n".join(block or span for block, span in CODE.findall(text))
    return re.findall(rf"(?:^|\$\(|&& |-- ){program} ([^\n#;)]*)", code, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_target_of_make_exists(page: Path) -> None:
    named = {word for line in find_commands(page, "make") for word in line.split()[:1]}
    assert {word for word in named if re.fullmatch("[a-z-]+", word)} <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_command_of_wpp_exists(page: Path) -> None:
    for line in find_commands(page, "wpp"):
        check_command(WPP, shlex.split(line.replace("…", "ID")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_packages_are_installed_from_our_lists_with_hashes(page: Path) -> None:
    """No registry has the pipeline: whoever took its name there would get into deployments."""
    for line in find_commands(page, r"(?:\S*/)?(?:pip|pip3|uv pip)"):
        found = re.fullmatch(r"install --require-hashes -r (\S+)", line.strip())
        assert found, line
        assert (ROOT / found[1]).is_file()


def check_command(command: Any, words: list[str]) -> None:
    """Fail unless a command has the subcommand and the options that these words name."""
    while children := getattr(command, "commands", None):
        if not words:  # the text names the group
            return
        assert words[0] in children, words[0]
        command, words = children[words[0]], words[1:]
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    named = {word.split("=")[0] for word in words if word.startswith("--")}
    assert named <= options | {"--help"}, command.name

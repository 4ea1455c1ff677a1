"""Facts that stand in two files agree: settings, processes, queues, Python versions."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from shared import logs, settings
from shared.events import QUEUE_NAMES

ROOT = Path(__file__).parent.parent
GROUPS = [
    value
    for module in (settings, logs)
    for value in vars(module).values()
    if isinstance(value, type)
    and issubclass(value, settings.SettingsGroup)
    and value is not settings.SettingsGroup
]


def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if line)


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def example() -> set[str]:
    return set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_setting_is_in_the_example(group: type[BaseSettings]) -> None:
    """`.env.example` is the reference of all settings."""
    assert {name.upper() for name in group.model_fields} <= example()


def test_the_example_contains_no_unknown_setting() -> None:
    """A line that no process reads is misleading."""
    assert example() <= {name.upper() for group in GROUPS for name in group.model_fields}


def test_the_example_contains_defaults_and_no_required_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A copy of the file without changes has no effect, and sets no well-known secret."""
    example = (ROOT / ".env.example").read_text()
    active = dict(re.findall(r"^([A-Z_]+)=(.*)$", example, re.MULTILINE))
    for group in GROUPS:
        without = group.model_construct().model_dump()
        assert not {
            name.upper() for name, known in group.model_fields.items() if known.is_required()
        } & set(active)
        for name in {name.upper() for name in group.model_fields} & set(active):
            monkeypatch.setenv(name, active[name])
        if not any(known.is_required() for known in group.model_fields.values()):
            assert settings.load_settings(group).model_dump() == without


def test_each_comment_of_the_example_is_whole() -> None:
    """Each block of comments begins with a capital, and ends a sentence or leads to its setting."""
    text = (ROOT / ".env.example").read_text()
    blocks = re.findall(r"(?:^# .*\n)+", text, re.MULTILINE)
    assert len(blocks) > len(example()) / 2
    assert not [block for block in blocks if not re.match(r"# (--- )?[A-Z]", block)]
    assert not [block for block in blocks if not block.endswith((".\n", ":\n"))]


def test_compose_runs_every_process_of_the_procfile() -> None:
    """Local and container deployments start the same commands."""
    services = compose()["services"]
    assert set(services) == {*procfile(), "redis"}
    for name, command in procfile().items():
        program = command.split(" ", 1)[1] if "=" in command.split()[0] else command
        assert services[name]["command"].split()[:4] == program.split()[:4]


def test_every_queue_is_served_by_a_process() -> None:
    """An event in a queue without a worker would wait forever."""
    served = {
        queue
        for command in procfile().values()
        for listed in re.findall(r"--queues ((?:\w+ )+)", command)
        for queue in listed.split()
    }
    assert served == set(QUEUE_NAMES)


def test_compose_keeps_redis_durable() -> None:
    """The Redis of the compose file passes `check_durability`."""
    command = compose()["services"]["redis"]["command"]
    for option in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert option in command


def test_python_versions_agree() -> None:
    """Linter, lock files and package name the same minimum version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    oldest = project["project"]["requires-python"].removeprefix(">=")
    assert project["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert f"--python-version {oldest}" in (ROOT / "Makefile").read_text()

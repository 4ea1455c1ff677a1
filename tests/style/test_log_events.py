"""docs/log-events.md has every event that the code logs, with its level, and no further event."""

import ast
import re
from collections import defaultdict

from shared.transitions import TRANSITIONS
from tests.style.source import ROOT, list_files, parse

LEVELS = ("debug", "info", "warning", "error", "critical")
METHODS = {**{level: level for level in LEVELS}, "exception": "error"}
WARNS = "_warn"
"""A helper of a module that logs its first argument as a warning."""
ROW = re.compile(r"^\| `([a-z_]+\.[a-z_]+)` \| ([a-z, ]+) \|", re.MULTILINE)
NAME = re.compile(r"[a-z_]+\.[a-z_]+")


def logged() -> dict[str, set[str]]:
    """Return the events of `log.info("event", …)` and the like, with their levels."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in list_files("shared", "workers"):
        for call in (node for node in ast.walk(parse(path)) if isinstance(node, ast.Call)):
            if (level := level_of(call.func)) and call.args:
                event = call.args[0]
                if isinstance(event, ast.Constant) and NAME.fullmatch(str(event.value)):
                    found[str(event.value)].add(level)
    return dict(found)


def level_of(function: ast.expr) -> str | None:
    match function:
        case ast.Attribute(attr=method, value=ast.Name(id="log")):
            return METHODS.get(method)
        case ast.Name(id=name) if name == WARNS:
            return "warning"
    return None


def test_the_table_has_every_event_with_its_level() -> None:
    """A new event gets a row in docs/log-events.md; one that is gone loses its row."""
    text = (ROOT / "docs" / "log-events.md").read_text(encoding="utf-8")
    documented = {event: set(levels.split(", ")) for event, levels in ROW.findall(text)}
    in_code = {**logged(), **{event: {level} for event, level in TRANSITIONS.items()}}
    assert not {event: in_code[event] for event in in_code if event not in documented}
    assert not [event for event in documented if event not in in_code]
    assert documented == in_code


def test_the_table_of_transitions_has_every_transition() -> None:
    """The further lines stand in a table of their own: `wpp tail` shows none of them."""
    text = (ROOT / "docs" / "log-events.md").read_text(encoding="utf-8")
    first, further = text.split("\n## Further lines\n")
    assert {event for event, _ in ROW.findall(first)} == set(TRANSITIONS)
    assert ROW.findall(further)


def test_every_transition_is_told() -> None:
    """A transition that no code tells would be waited for in vain."""
    source = "".join(path.read_text(encoding="utf-8") for path in list_files("shared", "workers"))
    told = set(re.findall(r"tell\(\s*\"([a-z_.]+)\"", source)) | {
        f"number.{health}" for health in ("up", "degraded", "down")
    }
    assert told == set(TRANSITIONS)

"""Redis keys are spelled in `shared/redis/keys.py` alone, each with its type and lifetime."""

import ast
import inspect
from pathlib import Path

import pytest

from shared.redis import keys

ROOT = Path(__file__).parents[3]
SPELLED_IN = "shared/redis/keys.py"
TO_CONVERT: set[str] = set()
"""Files that still spell keys. Remove a file when it is converted; the list ends empty."""
TYPES = ("String", "Hash", "List", "Set", "Sorted set", "Stream", "Channel (pub/sub)")
FUNCTIONS = [value for value in vars(keys).values() if inspect.isfunction(value)]


def spelled_keys(source: str) -> list[str]:
    """Return the literals and f-strings of `source` that begin like a key.

    The name of a UUID (`uuid5`) is none.
    """
    tree = ast.parse(source)
    names = {
        id(argument)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "uuid5"
        for argument in node.args
    }
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    found = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant | ast.JoinedStr)
        and id(node) not in names | inside
        and _begins_like_a_key(node)
    ]
    return sorted(found)


def _begins_like_a_key(node: ast.Constant | ast.JoinedStr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value.startswith(keys.PREFIX)
    first = node.values[0] if node.values else None
    if isinstance(first, ast.FormattedValue):
        return ast.unparse(first.value).rpartition(".")[2].lower().endswith("prefix")
    return isinstance(first, ast.Constant) and str(first.value).startswith(keys.PREFIX)


def test_no_key_is_spelled_outside_the_module_of_keys() -> None:
    """A key in two places would be renamed incompletely."""
    spelling = {
        str(path.relative_to(ROOT))
        for folder in ("shared", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if spelled_keys(path.read_text())
    }
    assert spelling - {SPELLED_IN} <= TO_CONVERT
    assert SPELLED_IN in spelling, "the check finds the keys where they are"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('client.get("wpp:outbox")', ["'wpp:outbox'"]),
        ('client.get(f"wpp:event:{id}")', ["f'wpp:event:{id}'"]),
        ('client.get(f"{PREFIX}event:{id}")', ["f'{PREFIX}event:{id}'"]),
        ('client.get(f"{self._prefix}event:{id}")', ["f'{self._prefix}event:{id}'"]),
        ('uuid5(NAMESPACE_URL, f"wpp:{account}")', []),
        ('log.info("wpp.started")', []),
    ],
)
def test_the_check_finds_a_spelled_key(source: str, found: list[str]) -> None:
    """Literals, f-strings and the prefix followed by a name are found; names of UUIDs are not."""
    assert spelled_keys(source) == found


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_each_key_states_its_type_and_lifetime(function: object) -> None:
    """The docstring begins with "Type, lifetime."."""
    kind, comma, _ = (inspect.getdoc(function) or "").partition(", ")
    assert comma or kind.startswith("Channel")
    assert kind.startswith(TYPES)


def test_no_two_keys_are_the_same() -> None:
    """Each function returns another pattern, and each constant is another key."""
    patterns = [
        function(*["*" for _ in inspect.signature(function).parameters]) for function in FUNCTIONS
    ]
    constants = [
        value
        for name, value in vars(keys).items()
        if isinstance(value, str) and name.isupper() and name != "PREFIX"
    ]
    assert len({*patterns, *constants}) == len(patterns) + len(constants)
    assert all(key.startswith(keys.PREFIX) for key in (*patterns, *constants))

"""A name stands for a single idea: a search for a class finds a single definition."""

import ast
from collections import defaultdict

from tests.style.source import list_files, parse, relative


def test_each_class_and_alias_name_is_defined_once() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path in list_files("workers", "shared"):
        for node in parse(path).body:
            if name := _defined_type(node):
                places[name].add(relative(path))
    twice = {name: sorted(paths) for name, paths in places.items() if len(paths) > 1}
    assert not twice, f"defined in more than one module: {twice}"


def _defined_type(node: ast.stmt) -> str | None:
    """Return the name of a public class, or of an alias such as `Name = A | B`."""
    if isinstance(node, ast.ClassDef):
        name: str | None = node.name
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        name = node.targets[0].id
    else:
        name = None
    is_type = name is not None and name[:1].isupper() and not name.isupper()
    return name if is_type and "_" not in str(name) else None

"""Links in README and docs lead to files that exist, and the code map names what there is."""

import re
from pathlib import Path

import pytest

from tests.style.source import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_the_code_map_names_every_module_and_package() -> None:
    """A reader finds each top-level module of workers/ and shared/ on the map."""
    code_map = (ROOT / "docs" / "code-map.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[a-z_]+", code_map))
    present = {
        path.stem
        for folder in ("workers", "shared")
        for path in (ROOT / folder).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {"__init__"}
    assert not present - named

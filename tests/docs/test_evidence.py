"""Pages that name tests as evidence name tests that exist."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
NAMED = re.compile(r"((?:`test_\w+`(?:, )?)+) in \[\w+\]\(([^)]+)\)")


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def test_each_promise_has_a_test() -> None:
    sections = re.split(r"^## ", read("promises.md"), flags=re.MULTILINE)[1:]
    assert [section.split(".")[0] for section in sections] == [str(n) for n in range(1, 10)]
    assert all(NAMED.search(section) for section in sections)


def test_each_fault_of_before_has_a_test() -> None:
    """But for the fault of a page, which a server cannot mend."""
    rows = re.findall(r"^\| (\d+) \|.*$", read("old-faults.md"), re.MULTILINE)
    assert rows == [str(n) for n in range(23, 48)]
    lines = [line for line in read("old-faults.md").splitlines() if re.match(r"\| \d", line)]
    assert [line for line in lines if not NAMED.search(line)] == [lines[45 - 23]]


@pytest.mark.parametrize("page", ["promises.md", "old-faults.md"])
def test_each_named_test_exists(page: str) -> None:
    found = NAMED.findall(read(page))
    assert sum(names.count("`test_") for names, _ in found) == read(page).count("`test_")
    for names, link in found:
        code = (DOCS / link).read_text(encoding="utf-8")
        for name in re.findall(r"`(test_\w+)`", names):
            assert f"def {name}(" in code, name

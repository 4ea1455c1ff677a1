"""Docstrings and comments name their subjects.

Indefinite pronouns hide the subject of a sentence. Per 1,000 words of docstrings and comments,
dramatiq has 1.9, procrastinate 2.9, starlette 4.7.
"""

import re

import pytest

from tests.style.source import list_files, prose, relative

PRONOUNS = frozenset(
    [
        "nobody",
        "somebody",
        "anybody",
        "everybody",
        "whoever",
        "whatever",
        "whom",
        "whose",
        "one",
        "ones",
        "other",
        "others",
        "such",
        "thing",
        "things",
    ]
)
WORD = re.compile(r"[A-Za-z']+")
MAX_PER_1000 = 6.0


@pytest.mark.parametrize("folders", [("workers", "shared"), ("sandbox", "bench"), ("tests",)])
def test_prose_has_few_indefinite_pronouns(folders: tuple[str, ...]) -> None:
    words = 0
    hits: list[tuple[int, str]] = []
    for path in list_files(*folders):
        for line, text in prose(path):
            found = [word.lower() for word in WORD.findall(text)]
            count = sum(word in PRONOUNS for word in found)
            words += len(found)
            if count:
                hits.append((count, f"{relative(path)}:{line}: {text.splitlines()[0][:80]}"))
    rate = 1000 * sum(count for count, _ in hits) / words
    worst = "\n".join(text for _, text in sorted(hits, reverse=True)[:20])
    assert rate <= MAX_PER_1000, f"{rate:.1f} indefinite pronouns per 1,000 words:\n{worst}"

"""docs/arriving.md lists every word of the vocabulary, and every result of the corpus."""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest

from shared.outcomes import ContentType
from shared.webhooks import sessions, vocabulary
from shared.webhooks.calls import CallOutcome
from shared.webhooks.vocabulary import EventType
from tests.shared.webhooks.corpus_files import load_corpus
from workers.media.errors import RefusalReason

PAGE = (Path(__file__).parents[3] / "docs" / "arriving.md").read_text(encoding="utf-8")


def read_table(heading: str) -> dict[str, list[str]]:
    """Return the rows of the table below a heading: the further cells by the first cell."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in rows[2:]}


def quoted(text: str) -> set[str]:
    """Return the words in backticks."""
    return set(re.findall(r"`([^`]+)`", text))


def group_words(words: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the words of each meaning."""
    groups = defaultdict[str, set[str]](set)
    for word, meaning in words.items():
        groups[meaning].add(word)
    return groups


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("Event types", vocabulary.EVENT_TYPES),
        ("Content types", vocabulary.CONTENT_TYPES),
        ("Statuses", vocabulary.STATUSES),
        ("Session states", sessions.SESSION_WORDS),
    ],
)
def test_each_table_lists_exactly_the_words_of_the_vocabulary(
    heading: str, words: Mapping[str, str]
) -> None:
    """A word that is added to the vocabulary is added to the page, and vice versa."""
    table = read_table(heading)
    listed = {meaning: quoted(cells[0]) & set(words) for meaning, cells in table.items()}
    groups = group_words(words)
    assert {meaning: found for meaning, found in listed.items() if meaning in groups} == groups


def test_the_tables_list_every_type() -> None:
    """Types without words of their own have a row as well."""
    assert set(read_table("Event types")) == set(get_args(EventType))
    assert set(read_table("Content types")) >= set(get_args(ContentType))


def test_the_general_types_are_named() -> None:
    """The paragraph below the table of event types names them."""
    assert quoted(PAGE) >= sessions.STATUS_FIELD_TYPES


def test_the_structures_are_named() -> None:
    """The table of what people chose, bought or called about has each key of the metadata."""
    assert quoted(PAGE) >= {"answer", "poll", "vote", "order", "product", "call", "referral"}
    assert quoted(PAGE) >= set(get_args(CallOutcome))


def test_the_reasons_for_a_refused_file_are_named() -> None:
    """They stand in the CRM's rows."""
    assert quoted(PAGE) >= set(RefusalReason)


def test_every_result_of_the_corpus_is_named() -> None:
    """Each `became` of a case is in the row of its event type; each content has its row."""
    table = read_table("Event types")
    for name, case in load_corpus().items():
        for result in case["becomes"]:
            became = result["became"].partition(":")
            expected = became[0] + became[1]
            row = quoted(table[result["type"]][-1]) | {"foreign_account"}
            assert expected in row, name
            contents = {outcome.get("content", "text") for outcome in result["outcomes"]}
            assert contents <= set(read_table("Content types")), name

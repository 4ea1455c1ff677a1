"""People get a header, aligned columns and a sentence when there is nothing; programs get JSON."""

import json
from datetime import UTC, datetime

import pytest

from workers.cli import output

ROWS = [
    {"at": datetime(2026, 11, 29, 12, tzinfo=UTC), "kind": "send", "owner": None, "more": 1},
    {"at": datetime(2026, 11, 29, 13, tzinfo=UTC), "kind": "webhook", "owner": "7", "more": 2},
]


def test_a_table_has_a_header_and_aligned_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows(ROWS, ("at", "kind", "owner"), as_json=False, empty="nothing")
    assert capsys.readouterr().out.splitlines() == [
        "AT                   KIND     OWNER",
        "2026-11-29 12:00:00  send",
        "2026-11-29 13:00:00  webhook  7",
    ]


def test_json_has_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows(ROWS, ("at",), as_json=True, empty="nothing")
    assert [row["more"] for row in json.loads(capsys.readouterr().out)] == [1, 2]


@pytest.mark.parametrize(("as_json", "shown"), [(False, "no dead letters\n"), (True, "[]\n")])
def test_nothing_is_said(capsys: pytest.CaptureFixture[str], *, as_json: bool, shown: str) -> None:
    output.print_rows([], ("at",), as_json=as_json, empty="no dead letters")
    assert capsys.readouterr().out == shown


def test_progress_counts_and_tells_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr: the output of a command stays as it is."""
    seconds = iter(range(0, 1000, 30))
    items = output.show_progress("abcd", 4, "queued", clock=lambda: float(next(seconds)))
    assert list(items) == ["a", "b", "c", "d"]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.rstrip() for line in shown.err.splitlines()] == [
        "1 of 4 queued, 3 min left",
        "2 of 4 queued, 90 s left",
        "3 of 4 queued, 40 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "40 s"), (720, "12 min"), (10_800, "3 h"), (432_000, "5 d")]
)
def test_durations(seconds: float, text: str) -> None:
    assert output.format_duration(seconds) == text

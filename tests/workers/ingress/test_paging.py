"""Cursors: what was written is read again, and nothing else is accepted."""

import base64
import json

import pytest
from fastapi.exceptions import RequestValidationError

from workers.ingress.paging import read_cursor, read_stored_cursor, write_cursor

PLACE = ["2026-11-29T12:00:00.123456+00:00", "79990001122"]


def encode(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_cursor_is_read_as_it_was_written() -> None:
    cursor = write_cursor("desc", PLACE)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert read_cursor("desc", cursor) == PLACE


def test_without_a_cursor_it_is_the_first_page() -> None:
    assert read_cursor("desc", None) is None


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("nonsense!", id="no base64"),
        pytest.param("é", id="not ASCII"),
        pytest.param("AAAA", id="no JSON"),
        pytest.param(encode(["asc", *PLACE]), id="another order"),
        pytest.param(encode(["desc", "soon", "7"]), id="no time"),
        pytest.param(encode(["desc", PLACE[0], 7]), id="a number"),
        pytest.param(encode(["desc", PLACE[0], "7\x00"]), id="a null byte"),
        pytest.param(encode(["desc"]), id="too short"),
        pytest.param(encode({"desc": 1}), id="an object"),
    ],
)
def test_any_other_text_is_refused(cursor: str) -> None:
    for read in (read_cursor, read_stored_cursor):
        with pytest.raises(RequestValidationError):
            read("desc", cursor)


@pytest.mark.parametrize(
    "time",
    [
        *(None, "infinity", "-infinity", "294276-12-31T00:00:00+00:00"),
        *("4713-01-01T00:00:00+00:00 BC", "2026-11-29T12:00:00.123456+00:00"),
    ],
)
def test_a_cursor_may_have_any_time_of_postgres(time: str | None) -> None:
    """In lists by times that users may write."""
    cursor = write_cursor("desc", [time, "7"])
    assert read_stored_cursor("desc", cursor) == (time, "7")
    assert read_stored_cursor("desc", None) is None

"""Times that Postgres writes and Python may not hold."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.database.models import SearchHit, StoredMessage
from shared.stored_times import NEWEST, OLDEST, clamp_time, read_time


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        pytest.param(None, OLDEST, id="null"),
        pytest.param("infinity", NEWEST, id="infinity"),
        pytest.param("-infinity", OLDEST, id="-infinity"),
        pytest.param("294276-12-31T00:00:00+00:00", NEWEST, id="late year"),
        pytest.param("4713-01-01T00:00:00+00:00 BC", OLDEST, id="BC"),
        pytest.param("0001-01-01T00:00:00+14:00", OLDEST, id="first day, east"),
        pytest.param("9999-12-31T23:59:59.999999-12:00", NEWEST, id="last day, west"),
    ],
)
def test_a_time_beyond_python_is_none_or_the_nearest(written: str | None, shown: datetime) -> None:
    assert read_time(written) is None
    assert clamp_time(written) == shown
    for hours in (-23, 23):
        assert shown.astimezone(timezone(timedelta(hours=hours))) == shown


def test_the_rest_is_read_as_it_is() -> None:
    moment = datetime(2026, 11, 21, 12, 0, 2, 500_000, tzinfo=UTC)
    for written in ("2026-11-21T12:00:02.5+00:00", "2026-11-21T12:00:02.5", moment):
        assert read_time(written) == clamp_time(written) == moment


@pytest.mark.parametrize("written", ["infinity", "294276-12-31T00:00:00+00:00"])
def test_rows_with_such_times_are_read(written: str) -> None:
    """An operator reads rows of several organizations at a time."""
    hit = {"kind": "message", "id": "1", "organization_id": None, "at": written}
    assert SearchHit.model_validate(hit).at is None
    names = ("client_id", "teacher_id", "integration_id", "external_message_id")
    row = dict.fromkeys((*names, "file_url", "file_name", "file_type"))
    number = "00000000-0000-4000-8000-000000000001"
    row |= {"id": number, "organization_id": number, "message_text": "", "created_at": written}
    found = StoredMessage.model_validate(
        {**row, "is_outgoing": None, "message_status": None, "metadata": [5]}
    )
    assert (found.created_at, found.outgoing, found.metadata) == (NEWEST, False, {})

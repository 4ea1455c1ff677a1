"""Times are read in every unit and spelling, and an implausible time is no time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.webhooks.times import find_time, parse_timestamp

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())


@pytest.mark.parametrize(
    "value",
    [
        SECONDS,
        float(SECONDS),
        SECONDS * 1_000,
        SECONDS * 1_000_000,
        SECONDS * 1_000_000_000,
        str(SECONDS),
        f" {SECONDS * 1_000} ",
        f"{SECONDS}n",
        {"low": SECONDS, "high": 0, "unsigned": True},
        {"low": (SECONDS * 1_000) % 2**32 - 2**32, "high": SECONDS * 1_000 >> 32},
        {"seconds": SECONDS, "nanos": 0},
        {"seconds": str(SECONDS)},
        {"_seconds": SECONDS, "_nanoseconds": 0},
        {"$numberLong": str(SECONDS)},
        "2026-11-28T12:00:00Z",
        "2026-11-28T15:00:00+03:00",
        "2026-11-28 12:00:00",
        "Sat, 28 Nov 2026 12:00:00 GMT",
        "Sat, 28 Nov 2026 15:00:00 +0300",
    ],
    ids=str,
)
def test_a_time_is_read_in_every_unit_and_spelling(value: object) -> None:
    assert parse_timestamp(value) == NOON


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, [], {}, "", "soon", "1e999", 0, -1, float("nan"), 10**400, "x" * 1000),
        *({"low": "1", "high": 0}, {"low": 1, "high": 2**70}, {"seconds": {}}, "Sat, 99 Foo 2026"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_any_other_value_is_no_time(value: object) -> None:
    assert parse_timestamp(value) is None


@pytest.mark.parametrize(
    ("fields", "created", "at"),
    [
        ({"timestamp": SECONDS}, None, NOON),
        ({"t": SECONDS}, None, NOON),
        ({"messageTimestamp": {"low": SECONDS, "high": 0}}, None, NOON),
        ({"offerTime": SECONDS}, SECONDS - 60, NOON),
        ({"timestamp": 17, "t": SECONDS}, None, NOON),
        ({}, SECONDS, NOON),
        ({}, None, None),
        ({"timestamp": SECONDS + 3600}, None, None),
    ],
)
def test_an_event_has_the_first_plausible_time(
    fields: dict[str, Any], created: object, at: datetime | None
) -> None:
    """Neither before WhatsApp began, nor more than some minutes in the future."""
    assert find_time(fields, created, NOON + timedelta(minutes=1)) == at

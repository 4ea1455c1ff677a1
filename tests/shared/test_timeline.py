"""The order of a message's events: ours to the millisecond, the platform's in whole seconds."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from shared.timeline import HistoryRow, build_timeline, order_history

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = 3600.0


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def own(event: str, second: float, **given: Any) -> dict[str, Any]:
    status = None if event == "attempt" else event
    row = {"event": event, "status": status, "source": "own", "at": at(second)}
    return row | {"arrived_at": at(second)} | given


def platform(
    event: str, second: float, arrived: float | None = None, **given: Any
) -> dict[str, Any]:
    """Return a report; without `arrived`, it came an hour later."""
    status = event if event in {"sent", "delivered", "read", "failed", "deleted"} else None
    came = at(LATER if arrived is None else arrived)
    row = {"event": event, "status": status, "source": "platform", "at": at(second)}
    return row | {"arrived_at": came} | given


def rows(*given: dict[str, Any]) -> list[HistoryRow]:
    return [HistoryRow(id=number, **each) for number, each in enumerate(given)]


def told(found: list[HistoryRow]) -> list[str]:
    return [f"{row.source} {row.event}" for row in found]


RESENT = own("sent", 500, attempt=2)
CASES = [
    pytest.param(
        [own("queued", 0.2), own("sent", 0.7), platform("delivered", 0, 1.1)],
        id="acks in the second of the send follow it",
    ),
    pytest.param(
        [
            own("queued", 0.2),
            own("sent", 5.7),
            platform("sent", 5, 5.9),
            platform("delivered", 5, 6.1),
            platform("read", 5, 6.3),
        ],
        id="acks of one second have their order",
    ),
    pytest.param(
        [own("sent", 1), platform("delivered", 4, 9), platform("read", 6, 7)],
        id="a late delivered is before read",
    ),
    pytest.param(
        [own("sent", 1), platform("delivered", 9), platform("read", 6)],
        id="a wrong clock puts no delivered after read",
    ),
    pytest.param(
        [own("queued", 31), own("sent", 32), platform("delivered", 2, 33)],
        id="a clock half a minute behind",
    ),
    pytest.param(
        [own("sent", 32), platform("delivered", 62, 33), platform("read", 70, 41)],
        id="a clock half a minute ahead",
    ),
    pytest.param(
        [own("queued", 0), own("unknown", 9), platform("sent", 1, 20)],
        id="unknown, then proven sent",
    ),
    pytest.param(
        [own("queued", 0), own("unknown", 9), platform("delivered", 1, 8.5)],
        id="unknown, although the report came a moment before",
    ),
    pytest.param(
        [own("unknown", 1), own("sent", 15), platform("sent", 1, 1.5), platform("read", 1, 2)],
        id="unknown, then settled by the reports that came before",
    ),
    pytest.param([own("sent", 5.9), platform("failed", 5)], id="given up in the same second"),
    pytest.param([own("failed", 5), platform("sent", 4, 6)], id="failed, then proven sent"),
    pytest.param(
        [own("failed", 1), own("sent", 500), platform("delivered", 500, 501)], id="a replay"
    ),
    pytest.param(
        [own("unknown", 9), platform("sent", 1, 20), RESENT, platform("read", 501, 502)],
        id="sent again",
    ),
    pytest.param(
        [own("sent", 1), platform("read", 3, 4), platform("deleted", 2, 5)], id="deleted is last"
    ),
    pytest.param(
        [
            own("sent", 1),
            platform("read", 3, 4, status=None),
            platform("replaced", 9, 9.2),
            own("edited", 9.5, status="sent"),
            platform("delivered", 12, 12.5),
        ],
        id="an edit by a new message",
    ),
    pytest.param(
        [platform("received", 2, 3), platform("reaction", 4, 5), platform("edited", 4, 6)],
        id="a message that arrived",
    ),
    pytest.param(
        [
            own("queued", 0),
            own("attempt", 1, attempt=1, started_at=at(0.5)),
            own("sent", 3, attempt=2, started_at=at(2)),
            platform("delivered", 3, 4),
        ],
        id="attempts",
    ),
]


@pytest.mark.parametrize("expected", CASES)
def test_events_stand_in_their_order(expected: list[dict[str, Any]]) -> None:
    """In whatever order they were recorded."""
    listed = rows(*expected)
    for order in permutations(listed):
        assert told(order_history(order)) == told(listed)


@pytest.mark.parametrize("given", CASES)
def test_times_never_fall(given: list[dict[str, Any]]) -> None:
    times = [event.at for event in build_timeline(rows(*given))]
    assert times == sorted(times)


def test_attempts_are_told_with_their_beginning_and_their_end() -> None:
    found = build_timeline(
        rows(
            own("queued", 0),
            own("attempt", 1, attempt=1, started_at=at(0.5), error="429: slower"),
            own("failed", 3, attempt=2, started_at=at(2), error="no number", code="refused"),
        )
    )
    assert [(each.event, each.at, each.attempt, each.error) for each in found] == [
        ("accepted", at(0), None, None),
        ("attempt", at(0.5), 1, None),
        ("postponed", at(1), 1, "429: slower"),
        ("attempt", at(2), 2, None),
        ("failed", at(3), 2, "no number"),
    ]
    assert found[-1].code == "refused"


def test_a_report_keeps_the_time_of_the_platform() -> None:
    _, delivered, proof = build_timeline(
        rows(own("unknown", 9.5), platform("sent", 9, 20), platform("delivered", 11, 21))
    )
    assert (delivered.at, delivered.reported_at) == (at(9.5), at(9))
    assert (proof.at, proof.reported_at) == (at(11), at(11))


def test_a_report_that_came_late_has_the_time_of_its_arrival() -> None:
    _, proof = build_timeline(rows(own("unknown", 9), platform("sent", 1, 20)))
    assert (proof.at, proof.reported_at) == (at(20), at(1))


def test_a_reaction_says_who_and_what() -> None:
    _, found = build_timeline(
        rows(
            platform("received", 1, 1),
            platform("reaction", 2, 2, actor="79990001122", detail="👍"),
        )
    )
    assert (found.event, found.by, found.emoji) == ("reaction", "79990001122", "👍")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            [own("queued", 0), own("sent", 2.3, attempt=1, started_at=at(2)), platform("sent", 2)],
            ["own accepted", "own attempt", "own sent"],
        ),
        (
            [own("unknown", 9), platform("sent", 1, 20), platform("sent", 2, 21)],
            ["own unknown", "platform sent"],
        ),
        (
            [own("unknown", 1), own("sent", 15), platform("sent", 1, 1.5)],
            ["own unknown", "own sent"],
        ),
        (
            [own("unknown", 9), platform("sent", 1, 20), RESENT, platform("sent", 501, 502)],
            ["own unknown", "platform sent", "own sent"],
        ),
    ],
)
def test_that_the_platform_took_it_is_told_once_for_an_attempt(
    given: list[dict[str, Any]], told: list[str]
) -> None:
    """The platform's report of it adds the platform's time, and no line."""
    found = build_timeline(rows(*given))
    assert [f"{each.source} {each.event}" for each in found] == told
    assert found[-1].reported_at is not None


def test_the_platform_s_report_on_a_new_text_adds_its_time_to_the_edit() -> None:
    """The edit is the moment at which the platform took the new text."""
    _, edited, delivered = build_timeline(
        rows(
            own("sent", 1),
            own("edited", 9.5, status="sent"),
            platform("sent", 9, 9.8),
            platform("delivered", 10, 10.2),
        )
    )
    assert (edited.event, edited.status, edited.reported_at) == ("edited", "sent", at(9))
    assert (delivered.event, delivered.status) == ("delivered", "delivered")

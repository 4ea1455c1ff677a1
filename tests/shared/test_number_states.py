"""Numbers go up and down: each change is told once, however often and late it is reported."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import structlog

from shared.number_states import NumberReport, NumberStates

START = datetime(2026, 11, 29, 12, tzinfo=UTC)
OWNER = {"organization_id": "o", "integration_id": "i"}


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    caplog.set_level("INFO")
    with structlog.testing.capture_logs() as lines:
        yield lines


def events(told: list[Any]) -> list[str]:
    return [line["event"] for line in told]


def row(status: str, after_s: float, **more: str) -> dict[str, Any]:
    at = (START + timedelta(seconds=after_s)).isoformat()
    return {"type": "session", "account": "a", "status": status, "at": at, **more}


def test_a_change_is_told_once_with_its_reason_and_owner(
    redis_client: redis.Redis, told: list[Any]
) -> None:
    """A webhook, a poll and a check report the same; pairing lies between down and up."""
    numbers = NumberStates(redis_client, lambda _account: OWNER)
    numbers.report_rows([row("starting", 0), row("qr_issued", 1), row("connected", 2)])
    numbers.report_rows([row("connected", 3), {"type": "message"}])
    numbers.report_rows([row("disconnected", 4, reason="unlinked"), row("disconnected", 5)])
    numbers.report_rows([row("starting", 6), row("error", 7), row("connected", 8)])
    assert events(told) == ["number.up", "number.down", "number.up"]
    assert {**OWNER, "account": "a", "reason": "unlinked"}.items() <= told[1].items()


def test_a_late_report_tells_nothing(redis_client: redis.Redis, told: list[Any]) -> None:
    numbers = NumberStates(redis_client)
    numbers.report_rows([row("connected", 10), row("disconnected", 5)])
    assert events(told) == ["number.up"]
    assert numbers.count() == {"connected": 1}


def test_reconciling_tells_what_was_missed_and_forgets_what_is_gone(
    redis_client: redis.Redis, told: list[Any]
) -> None:
    """Numbers that were there before the first report are no news."""
    numbers = NumberStates(redis_client)
    numbers.report_rows([row("connected", 0)])
    numbers.report(NumberReport("removed", "connected", START), may_be_first=False)
    later = START + timedelta(hours=1)
    found = [NumberReport("a", "disconnected", later), NumberReport("b", "connected", later)]
    numbers.reconcile(found, later)
    assert events(told) == ["number.up", "number.down"]
    assert numbers.count() == {"disconnected": 1, "connected": 1}

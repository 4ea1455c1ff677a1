"""After an outage, what the platform can tell is filed; what it cannot is shown as a gap."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from threading import Event as Flag
from typing import Any

import httpx
import pytest

from sandbox.platform.server import PlatformServer
from shared.database.models import SessionChange
from shared.events import utc_now
from shared.outcomes import SessionOutcome, SessionStatus
from tests.conftest import PLATFORM_SECRET, SHORT_DELAYS
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from workers.clock.gaps import (
    MARGIN,
    MAX_EVENT,
    SEARCH_EVERY,
    SHORTEST_OUTAGE,
    Outage,
    check_gaps,
    file_missing,
    find_outage,
)

__all__ = ["pipeline"]

NOW = utc_now()
MINUTE = timedelta(minutes=1)


@pytest.fixture
def platform(request: pytest.FixtureRequest) -> Iterator[PlatformServer]:
    """Return a platform that keeps a history, or with the parameter False: none, as the real."""
    history = getattr(request, "param", True)
    with PlatformServer(secret=PLATFORM_SECRET, history=history, **SHORT_DELAYS) as server:
        yield server


without_history = pytest.mark.parametrize("platform", [False], indirect=True, ids=["no-history"])


def record_state(pipeline: InboundPipeline, status: SessionStatus, at: datetime) -> None:
    state = SessionOutcome(at=at, account=pipeline.account, status=status, reason="webhook")
    pipeline.outbox.add([state])
    pipeline.record()


def lose_webhooks(pipeline: InboundPipeline, *texts: str, ago: timedelta = 5 * MINUTE) -> None:
    """Play an outage: customers write meanwhile, and no webhook comes. Then it is over."""
    pipeline.ctx.as_account(pipeline.account).start()
    pipeline.env.scan_qr(pipeline.account)
    record_state(pipeline, "connected", NOW - 2 * ago)
    record_state(pipeline, "disconnected", NOW - ago)
    url = f"{pipeline.env.platform.url}/phone/{pipeline.account}/messages"
    for text in texts:
        httpx.post(url, json={"from": PEER, "text": text}).raise_for_status()
    record_state(pipeline, "connected", NOW)


def search(pipeline: InboundPipeline, later: timedelta = MINUTE) -> int:
    """Search all numbers, and file what is found; return how many were searched."""
    searched = check_gaps(pipeline.ctx, NOW + later, Flag())
    pipeline.settle()
    return searched


def history(pipeline: InboundPipeline) -> list[SessionChange]:
    integrations = pipeline.ctx.database.integrations
    return integrations.session_history(pipeline.integration, pipeline.organization)


def test_what_came_during_an_outage_is_filed_once(pipeline: InboundPipeline) -> None:
    lose_webhooks(pipeline, "One", "Two")
    assert search(pipeline) == 1
    assert sorted(row["message_text"] for row in pipeline.messages()) == ["One", "Two"]
    latest = history(pipeline)[0]
    assert (latest.status, latest.reason.partition(" from")[0]) == ("connected", "no gap: 2 events")
    assert search(pipeline) == 0
    assert search(pipeline, SEARCH_EVERY + 2 * MINUTE) == 1
    assert len(pipeline.messages()) == 2
    assert len(history(pipeline)) == 4


def test_a_message_that_did_arrive_is_not_filed_again(pipeline: InboundPipeline) -> None:
    """Also where the webhook spelled its id in a different way."""
    lose_webhooks(pipeline, "One")
    (event,) = pipeline.ctx.as_account(pipeline.account).list_events(NOW - MARGIN) or []
    pipeline.post({**event, "messageId": event["messageId"].rpartition("_")[2], "text": "One"})
    pipeline.settle()
    search(pipeline)
    assert [row["message_text"] for row in pipeline.messages()] == ["One"]
    assert history(pipeline)[0].reason.startswith("no gap: 0 events")


def test_a_timer_finds_what_was_lost_without_an_outage(pipeline: InboundPipeline) -> None:
    lose_webhooks(pipeline)
    search(pipeline)
    url = f"{pipeline.env.platform.url}/phone/{pipeline.account}/messages"
    httpx.post(url, json={"from": PEER, "text": "Lost"}).raise_for_status()
    assert search(pipeline, 2 * MINUTE) == 0
    assert search(pipeline, SEARCH_EVERY + 2 * MINUTE) == 1
    assert [row["message_text"] for row in pipeline.messages()] == ["Lost"]


@without_history
def test_a_platform_that_cannot_tell_leaves_a_possible_gap(pipeline: InboundPipeline) -> None:
    """The number's history shows it with its times; the number stays connected."""
    lose_webhooks(pipeline, "One")
    assert search(pipeline) == 1
    assert pipeline.messages() == []
    latest = history(pipeline)[0]
    began, ended = (f"{at:%F %T}" for at in (NOW - 5 * MINUTE, NOW))
    assert latest.reason == f"possible gap: messages from {began} to {ended} UTC may be missing"
    integration = pipeline.ctx.database.integrations.get(pipeline.integration)
    assert integration
    assert integration.status == "connected"
    assert search(pipeline, 2 * MINUTE) == 0
    assert len(history(pipeline)) == 4


@without_history
def test_a_short_absence_is_no_gap(pipeline: InboundPipeline) -> None:
    lose_webhooks(pipeline, ago=SHORTEST_OUTAGE / 2)
    assert search(pipeline) == 1
    assert len(history(pipeline)) == 3


def test_a_platform_that_does_not_answer_is_asked_again(pipeline: InboundPipeline) -> None:
    lose_webhooks(pipeline, "One")
    pipeline.env.inject_faults(paths="/messages$", rate_5xx=1, limit=1)
    assert search(pipeline) == 1
    assert pipeline.messages() == []
    assert search(pipeline) == 1
    assert [row["message_text"] for row in pipeline.messages()] == ["One"]


def test_statuses_of_the_history_reach_their_messages(pipeline: InboundPipeline) -> None:
    events: list[dict[str, Any]] = [
        {"type": "message.status", "data": {"taskId": "T1", "status": "delivered"}},
        {"type": "chat", "from": f"+{PEER}", "text": "without an id cannot be compared"},
        {"type": "chat", "from": f"+{PEER}", "messageId": "M1", "text": "x" * MAX_EVENT},
    ]
    assert file_missing(pipeline.account, events, pipeline.ctx, NOW) == 1
    pipeline.settle()
    assert [entry["became"] for entry in pipeline.logged()] == ["status:delivered"]


def changes(*states: tuple[str, float]) -> list[SessionChange]:
    """Return changes, the latest first, from statuses and minutes before now."""
    fields: dict[str, Any] = {"reason": "webhook", "account": "1"}
    return [
        SessionChange(status=status, at=NOW - minutes * MINUTE, **fields)
        for status, minutes in states
    ]


@pytest.mark.parametrize(
    ("states", "outage"),
    [
        ([("connected", 1), ("disconnected", 5), ("connected", 9)], (5, 1)),
        (
            [
                *(("connected", 1), ("connected", 2), ("starting", 3), ("qr_issued", 4)),
                *(("disconnected", 5), ("connected", 9)),
            ],
            (5, 2),
        ),
        ([("connected", 1), ("degraded", 5), ("connected", 9), ("disconnected", 20)], (5, 1)),
        ([("connected", 1), ("error", 5), ("connected", 9)], None),
        ([("connected", 1), ("qr_issued", 5), ("starting", 9)], None),
        ([("disconnected", 1), ("connected", 9)], None),
        ([("connected", 1)], None),
        ([], None),
    ],
    ids=[
        *("back", "scanned-again", "silent", "refused-key", "first-scan", "still-away"),
        *("always", "new"),
    ],
)
def test_an_outage_is_what_lies_between_two_connected_states(
    states: list[tuple[str, float]], outage: tuple[float, float] | None
) -> None:
    expected = outage and Outage(*(NOW - minutes * MINUTE for minutes in outage))
    assert find_outage(changes(*states)) == expected

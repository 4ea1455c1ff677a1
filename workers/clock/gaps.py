"""Gaps: times in which messages came to a number and their webhooks did not reach the pipeline.

A number is searched when it is back after an outage, and every few hours while it has a token.
What the platform can tell (`PlatformAccount.list_events`) is compared with the stored messages;
what is missing is filed like a webhook. After an outage, the number's history says what was found.
A platform that cannot tell leaves a possible gap, which the history shows with its times.
"""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from threading import Event as Flag
from typing import Any, NamedTuple

import redis
import structlog

from shared import routing, webhooks
from shared.database import Integration
from shared.database.models import SessionChange
from shared.errors import DatabaseError, PipelineError
from shared.events import utc_now
from shared.outbox import Outbox
from shared.outcomes import SessionOutcome
from shared.redis import keys
from shared.shards import EVERYTHING, ShardPart
from shared.webhooks import ClassifiedEvent
from shared.webhooks.message_ids import read_listed_ids, read_message_ids
from workers.context import WorkerContext

INTERVAL_S = 60.0
SEARCH_EVERY = timedelta(hours=6)
SHORTEST_OUTAGE = timedelta(minutes=1)
"""A phone that is away for less loses nothing: WhatsApp keeps its messages for it."""
MARGIN = timedelta(minutes=5)
"""How long before an outage its first lost message may have come."""
FURTHEST = timedelta(days=7)
"""How far back the platform is asked."""
SEARCHED_TTL_S = 30 * 86_400
BATCH = 50
MAX_EVENT = 65_536
"""Characters of an event as JSON. A history has no files, and longer texts are in no message."""
OUTAGES = frozenset({"disconnected", "degraded", "qr_issued"})

_KEY = re.compile(r"^(?:(?:true|false)_)?[^_@\s]+@[A-Za-z.]+_([^_\s]+)")
"""WhatsApp's id without direction, chat and suffix: `wpp_message_ids` has both spellings."""

log = structlog.get_logger()


class Outage(NamedTuple):
    began: datetime
    ended: datetime


def run_gap_checks(
    ctx: WorkerContext,
    stopping: Flag,
    interval_s: float = INTERVAL_S,
    part: ShardPart = EVERYTHING,
) -> None:
    """Search numbers for gaps until the process stops; any number of processes may do so."""
    while not stopping.wait(interval_s):
        try:
            check_gaps(ctx, utc_now(), stopping, part)
        except (DatabaseError, redis.RedisError) as error:
            log.warning("gap_check.round_failed", error=str(error))


def check_gaps(
    ctx: WorkerContext, now: datetime, stopping: Flag, part: ShardPart = EVERYTHING
) -> int:
    """Search each connected number that is due; return how many were searched."""
    searched = 0
    for integration in ctx.database.integrations.iterate():
        if stopping.is_set():
            break
        if integration.status != "connected" or not integration.account:
            continue
        if part.has(integration.organization_id):
            searched += _search_if_due(integration, ctx, now)
    return searched


def find_outage(changes: Sequence[SessionChange]) -> Outage | None:
    """Return the last outage of a number that is connected now; `changes`: the latest first."""
    ended: datetime | None = None
    began: datetime | None = None
    for change in changes:
        if change.status == "connected":
            if began and ended:
                return Outage(began, ended)
            ended = change.at
        elif change.status in OUTAGES and ended:
            began = change.at
    return None  # it was never connected before


def _search_if_due(integration: Integration, ctx: WorkerContext, now: datetime) -> bool:
    """Search a number that is back since it was searched, or was not searched for hours."""
    key = keys.gap_check(integration.id)
    searched_until = _parse_time(ctx.redis.get(key))
    is_back = integration.status_at is not None and (
        searched_until is None or integration.status_at > searched_until
    )
    if not is_back and searched_until and now - searched_until < SEARCH_EVERY:
        return False
    if not is_back and not ctx.tokens.find(integration.account):
        return False  # an idle number gets no token for this
    taken = ctx.redis.set(key, now.timestamp(), ex=SEARCHED_TTL_S, get=True)
    if _parse_time(taken) != searched_until:
        return False  # by another clock
    try:
        _search(integration, searched_until, ctx, now)
    except (PipelineError, redis.RedisError) as error:
        log.warning("gap_check.failed", account=integration.account, error=str(error))
        if searched_until:
            ctx.redis.set(key, searched_until.timestamp(), ex=SEARCHED_TTL_S)
        else:
            ctx.redis.delete(key)
    return True


def _search(
    integration: Integration, searched_until: datetime | None, ctx: WorkerContext, now: datetime
) -> None:
    history = ctx.database.integrations.session_history(integration.id, integration.organization_id)
    outage = find_outage(history)
    if outage and searched_until and outage.ended <= searched_until:
        outage = None  # it was searched
    if outage and outage.ended - outage.began < SHORTEST_OUTAGE:
        outage = None
    if outage is None and searched_until is None:
        return
    since = min(searched_until or now, outage.began if outage else now) - MARGIN
    since = max(since, now - FURTHEST)
    events = ctx.as_account(integration.account, refresh_ahead=False).list_events(since)
    count = None if events is None else file_missing(integration.account, events, ctx, now)
    if count:
        log.warning("gap.filed", account=integration.account, events=count, since=str(since))
    if outage:
        _report(integration, outage, count, ctx)


def file_missing(
    account: str, events: Sequence[dict[str, Any]], ctx: WorkerContext, now: datetime
) -> int:
    """File the events of messages that are not stored, and of statuses; return the number of new.

    Only what has an id can be compared.
    """
    count = 0
    for start in range(0, len(events), BATCH):
        batch = [
            webhooks.classify_event(webhooks.parse_payload(event), account, now)
            for event in events[start : start + BATCH]
            if len(json.dumps(event)) <= MAX_EVENT
        ]
        names = {name for event in batch for name in _list_message_ids(event)}
        known = ctx.database.messages.find_known_ids(account, sorted(names)) if names else set()
        for event in batch:
            ids = set(_list_message_ids(event))
            if (ids and not ids & known) or (
                event.type == "status" and read_listed_ids(event.payload)
            ):
                count += _append(event, ctx)
    return count


def _list_message_ids(event: ClassifiedEvent) -> Iterator[str]:
    """Yield WhatsApp's id of a message, in both spellings."""
    if event.type in ("message", "echo") and (name := read_message_ids(event.payload).whatsapp):
        yield name
        if found := _KEY.match(name):
            yield found[1]


def _append(event: ClassifiedEvent, ctx: WorkerContext) -> bool:
    identity = webhooks.identify_event(event)
    payload = dict(event.payload.raw)
    append = routing.route_webhook(event.account, payload, identity.value, event.conversation)
    return ctx.lanes.append(append).new


def _report(
    integration: Integration, outage: Outage, count: int | None, ctx: WorkerContext
) -> None:
    """Show an outage in the number's history, right after the state that ended it."""
    times = f"{outage.began:%F %T} to {outage.ended:%F %T} UTC"
    reason = (
        f"possible gap: messages from {times} may be missing"
        if count is None
        else f"no gap: {count} events from {times} were filed later"
    )
    outcome = SessionOutcome(
        at=outage.ended + timedelta(microseconds=1),
        account=integration.account,
        status="connected",
        reason=reason,
    )
    Outbox(ctx.redis).add([outcome])


def _parse_time(value: Any) -> datetime | None:
    return datetime.fromtimestamp(float(value), UTC) if value else None

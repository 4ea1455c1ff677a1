"""The last hour of the page Overview: rates and ages by kind, and the organizations.

It reads Redis only, as the rest of the page: it answers while Supabase is away.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from fastapi import APIRouter

from shared import activity
from shared.activity import MAX_ORGANIZATIONS, MINUTE_MS, MINUTES, Activity, Minute, Totals
from shared.events import QUEUE_NAMES
from shared.processes import now_ms
from workers.ingress.console.access import OperatorDep
from workers.ingress.deps import StateDep

router = APIRouter(prefix="/console/data/hour", include_in_schema=False)

LATE_S = 300
"""Messages that wait for so long hurt an organization."""
MAX_SHOWN = 100
FRESH_MS = 2 * MINUTE_MS
"""What a minute says of what waits is shown for so long."""


@router.get("")
def get_hour(operator: OperatorDep, state: StateDep) -> dict[str, Any]:
    """Return the last 60 minutes, the oldest first; None for those in which no clock ran.

    A shard that does not answer is left out: the page names it above.
    """
    del operator  # asked for because it has to be signed in
    found = [activity.read_minutes(each) for each in state.clients.list_answering()]
    return describe_hour(found, now_ms(state.sync_redis))


def describe_hour(shards: Sequence[Sequence[Minute]], at_ms: int) -> dict[str, Any]:
    """Return the hour of all shards that ends with the last whole minute before a time."""
    last_ms = at_ms // MINUTE_MS * MINUTE_MS
    newest_ms = max((entry.at_ms for entries in shards for entry in entries), default=0)
    if newest_ms < last_ms <= newest_ms + MINUTE_MS:
        last_ms = newest_ms  # the entry of the last minute comes within seconds
    ends = [last_ms - (MINUTES - 1 - each) * MINUTE_MS for each in range(MINUTES)]
    by_end = [{entry.at_ms: entry for entry in entries} for entries in shards]
    minutes = [_join_minutes([known[end] for known in by_end if end in known]) for end in ends]
    found = [each for each in minutes if each]
    is_fresh = bool(found) and at_ms - found[-1].at_ms <= FRESH_MS
    return {
        "minutes": ends,
        "last": found[-1].at_ms if found else None,
        "kinds": {
            kind: _join_kinds([_describe_kind(kind, entries, ends) for entries in shards])
            for kind in QUEUE_NAMES
        },
        "organizations": _describe_organizations(minutes, is_fresh=is_fresh),
        "others": activity.add_up(each.others for each in found)._asdict()
        | _describe_waiting(found[-1].others if is_fresh else None),
    }


def _join_minutes(entries: Sequence[Minute]) -> Minute | None:
    """Return the organizations of a minute on all shards; None without any entry."""
    if len(entries) < 2:
        return entries[0] if entries else None
    parts: dict[str, list[Activity]] = {}
    for entry in entries:
        for name, part in entry.organizations.items():
            parts.setdefault(name, []).append(part)
    return entries[0].model_copy(
        update={
            "organizations": {name: activity.add_up(found) for name, found in parts.items()},
            "others": activity.add_up(entry.others for entry in entries),
        }
    )


def _describe_kind(
    kind: str, entries: Sequence[Minute], ends: Sequence[int]
) -> dict[str, list[float | None]]:
    """Return what a kind did and what waited on a shard, minute by minute."""
    by_end = {entry.at_ms: entry for entry in entries}
    before = {entry.at_ms: earlier for earlier, entry in pairwise(entries)}
    minutes = [by_end.get(end) for end in ends]
    counts = [_subtract(kind, each, before.get(each.at_ms)) if each else None for each in minutes]
    return {
        **{
            name: [getattr(each, name) if each else None for each in counts]
            for name in Totals._fields
        },
        "waiting": [each.waiting.get(kind, 0) if each else None for each in minutes],
        "oldest_s": [each.oldest_s.get(kind, 0) if each else None for each in minutes],
    }


def _join_kinds(shards: Sequence[dict[str, list[float | None]]]) -> dict[str, list[float | None]]:
    """Return the sums of all shards, and the greatest ages."""
    first, *more = shards
    return {
        name: [
            _join_values(values, max if name == "oldest_s" else sum)
            for values in zip(series, *(each[name] for each in more), strict=True)
        ]
        for name, series in first.items()
    }


def _join_values(
    values: Iterable[float | None], join: Callable[[list[float]], float]
) -> float | None:
    known = [value for value in values if value is not None]
    return join(known) if known else None


def _subtract(kind: str, entry: Minute, earlier: Minute | None) -> Totals | None:
    """Return the counts of a minute; of several without an entry, their mean.

    None: there is no earlier entry, or Redis has lost its counters since.
    """
    if earlier is None or kind not in entry.totals or kind not in earlier.totals:
        return None
    now, then = entry.totals[kind], earlier.totals[kind]
    minutes = (entry.at_ms - earlier.at_ms) / MINUTE_MS
    if any((mine or 0) < (theirs or 0) for mine, theirs in zip(now, then, strict=True)):
        return None
    rates = [
        None if mine is None else round((mine - (theirs or 0)) / minutes, 2)
        for mine, theirs in zip(now, then, strict=True)
    ]
    return Totals(rates[0] or 0, rates[1], rates[2] or 0, rates[3] or 0)


def _describe_organizations(
    minutes: Sequence[Minute | None], *, is_fresh: bool
) -> list[dict[str, Any]]:
    """Return each organization that a minute names, those first that something hurts."""
    found = [each for each in minutes if each]
    last = found[-1] if is_fresh else None
    names = {name for each in found for name in each.organizations}
    described = [
        {
            "id": name,
            **activity.add_up(
                each.organizations[name] for each in found if name in each.organizations
            )._asdict(),
            **_describe_waiting(_find(name, last) if last else None),
            "last_minute": _read_sent(last, name),
            "by_minute": [_read_sent(each, name) for each in minutes],
        }
        for name in names
    ]
    return sorted(described, key=_rank, reverse=True)[:MAX_SHOWN]


def _find(name: str, minute: Minute) -> Activity | None:
    """Return an organization of a minute; None: it may be among the further ones."""
    is_full = len(minute.organizations) >= MAX_ORGANIZATIONS
    return minute.organizations.get(name, None if is_full else Activity())


def _describe_waiting(last: Activity | None) -> dict[str, Any]:
    """Return what waits now; None where the last minute does not tell."""
    return {
        "waiting": last.waiting if last else None,
        "oldest_s": last.oldest_s if last else None,
    }


def _read_sent(minute: Minute | None, name: str) -> int | None:
    return minute.organizations.get(name, Activity()).sent if minute else None


def _rank(organization: dict[str, Any]) -> tuple[int, int, int, str]:
    waiting = organization["waiting"] or 0
    late = waiting if (organization["oldest_s"] or 0) >= LATE_S else 0
    hurt = organization["failed"] + organization["unknown"] + late
    return hurt, waiting, organization["accepted"], organization["id"]

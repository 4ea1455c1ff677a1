"""Transitions that a person cares about, each told once: a log line, and an event of `wpp tail`.

`docs/log-events.md` says what each of them means and what to do about it.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

import structlog

Level = Literal["debug", "info", "warning", "error"]
Listener = Callable[[str, Mapping[str, Any]], None]

TRANSITIONS: dict[str, Level] = {
    "message.accepted": "debug",
    "message.scheduled": "debug",
    "message.cancelled": "info",
    "message.sent": "debug",
    "message.delivery": "debug",
    "message.received": "debug",
    "message.failed": "warning",
    "message.expired": "warning",
    "message.unknown": "warning",
    "message.given_up": "warning",
    "message.resolved": "info",
    "event.dead_lettered": "error",
    "dead_letter.replayed": "info",
    "number.up": "info",
    "number.degraded": "warning",
    "number.down": "warning",
    "key.refused": "error",
    "pacing.began": "info",
    "pacing.ended": "info",
    "warm_up.used_up": "warning",
    "gate.closed": "warning",
    "gate.opened": "info",
    "organization.deleted": "warning",
    "organization.set_aside": "warning",
    "organization.resumed": "info",
    "breaker.opened": "warning",
    "breaker.closed": "info",
    "claim.lease_expired": "warning",
    "newer_process.awaited": "warning",
}
"""Every transition, with the level of its log line."""

log = structlog.get_logger("transitions")
_listeners: list[Listener] = []


def tell(event: str, **fields: Any) -> None:
    """Log a transition at its level, and pass it to the listeners of this process.

    Fields without a value are left out. Those of every message cost next to nothing while the log
    leaves them out.
    """
    level = TRANSITIONS[event]
    logged = level != "debug" or logging.getLogger().isEnabledFor(logging.DEBUG)
    if not logged and not _listeners:
        return
    known = {name: value for name, value in fields.items() if value is not None}
    if logged:
        getattr(log, level)(event, **known)
    for listener in _listeners:
        listener(event, known)


def add_listener(listener: Listener) -> None:
    """Call `listener` with each transition of this process, also with those that are not logged."""
    _listeners.append(listener)


def remove_listener(listener: Listener) -> None:
    _listeners.remove(listener)

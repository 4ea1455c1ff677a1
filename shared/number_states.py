"""The state of each number as Supabase was told it: tells a change, and counts numbers by state.

Webhooks, polls and health checks report the same state several times, and out of order. The newest
report counts, and only a change between up, degraded and down is a transition. The states of
pairing (`starting`, `qr_issued`) lie between two of these.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

import redis

from shared.redis import keys
from shared.redis.scripts import LuaScript
from shared.transitions import tell

Health = Literal["up", "degraded", "down"]

HEALTH: dict[str, Health] = {
    "connected": "up",
    "degraded": "degraded",
    "disconnected": "down",
    "error": "down",
}
YOUNG_MS = 300_000
"""A number that was reported within this time may be newer than a list of all numbers."""

REPORT = LuaScript("""
local old = redis.call('HGET', KEYS[1], ARGV[1])
local at, _, health = string.match(old or '', '^(%d+) (%S+) (%S*)$')
if at and tonumber(at) > tonumber(ARGV[2]) then return {health, health} end
local new = ARGV[4] ~= '' and ARGV[4] or health or ''
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. new)
return {old and health or '?', new}
""")
"""Keep the newest report of an account; return its health before (`?`: not known) and now."""


@dataclass(frozen=True)
class NumberReport:
    """What was reported about the number of an account, as of `at`."""

    account: str
    status: str
    at: datetime
    reason: str | None = None
    error: str | None = None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Return what the outcome of a session reports."""
        at = datetime.fromisoformat(row["at"])
        return cls(row["account"], row["status"], at, row.get("reason"), row.get("error"))


class NumberStates:
    """`describe(account)` names the organization and the integration of an account, if known."""

    def __init__(
        self, client: "redis.Redis", describe: Callable[[str], dict[str, Any]] | None = None
    ) -> None:
        self._client = client
        self._describe = describe

    def report(self, report: NumberReport, *, may_be_first: bool = True) -> None:
        """Keep a report, and tell the transition that it is, if any.

        Without `may_be_first`, the first report of an account tells nothing: it is no news.
        """
        at_ms = int(report.at.timestamp() * 1000)
        health = HEALTH.get(report.status, "")
        arguments = [report.account, at_ms, report.status, health]
        reply: Any = REPORT.run(self._client, [keys.NUMBER_STATES], arguments)
        before, now = (word.decode() for word in reply)
        if before == now or not health or (before == "?" and not may_be_first):
            return
        found = self._describe(report.account) if self._describe else {}
        tell(
            f"number.{health}",
            account=report.account,
            status=report.status,
            reason=report.reason,
            error=report.error,
            **found,
        )

    def report_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        """Report the states of sessions among outcomes (`model_dump(mode="json")`)."""
        for row in rows:
            if row.get("type") == "session":
                self.report(NumberReport.from_row(row))

    def reconcile(self, reports: Iterable[NumberReport], now: datetime) -> None:
        """Compare with all numbers of Supabase: tell what was missed, forget what is gone."""
        stored: Any = self._client.hgetall(keys.NUMBER_STATES)
        known = {name.decode(): value.decode().split(" ") for name, value in stored.items()}
        for report in reports:
            entry = known.pop(report.account, None)
            if entry is None or entry[1] != report.status:
                self.report(report, may_be_first=False)
        old_ms = now.timestamp() * 1000 - YOUNG_MS
        gone = [account for account, entry in known.items() if int(entry[0]) < old_ms]
        if gone:
            self._client.hdel(keys.NUMBER_STATES, *gone)

    def count(self) -> Counter[str]:
        """Return how many numbers are in each state."""
        values: Any = self._client.hvals(keys.NUMBER_STATES)
        return Counter(value.decode().split(" ")[1] for value in values)

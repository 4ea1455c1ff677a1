"""Circuit breakers: stop calls to an account or a platform that fails, until a probe succeeds.

The breaker of an account opens when at least half of 20 or more of its calls within about 10 s
failed. The breaker of the platform opens when at least three accounts, and four fifths of those
called lately, fail, or when 5 connects in a row fail. An account that fails alone thus delays no
other account. A breaker stays open for 5 s. Each failed probe doubles that time, up to a minute.

An idempotent call probes an open breaker, in practice the status call that precedes a message
(`needs_probe`). After it, an account's breaker lets a single call of any kind through, and closes
when that succeeds: an account may answer status calls and refuse messages.

All processes share the state through Redis (`circuit_breaker.lua`). A process counts its successes
in memory and reports them with its next read of the state, at most once a second, for all accounts
together; it reports a failure at once. A healthy platform therefore costs a round trip a second,
and an idle process none. Every breaker counts as closed while Redis does not answer.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import redis

from shared.errors import UnavailableError
from shared.redis import keys
from shared.redis.scripts import LuaScript
from shared.transitions import tell

SCRIPT = LuaScript.from_package("shared.platform", "circuit_breaker.lua")
REPORT_INTERVAL_S = 1.0
PROBE_LEASE_S = 60.0
"""How long a probe may last; longer than the deadline of any call."""
MAX_REPORTED = 500
"""Accounts whose successes one report contains: Redis is blocked meanwhile."""
BreakerStateName = Literal["closed", "open", "probe", "trial"]
BreakerScope = Literal["platform", "account"]
FAILING = {
    "platform": "The circuit breaker is open: the platform fails, calls wait for its recovery",
    "account": "The circuit breaker of the account is open: its calls to the platform fail",
}


@dataclass(frozen=True, slots=True)
class BreakerState:
    """The state that decides about a call, and whose breaker it is.

    `retry_after_s` is set while the breaker is open. "probe": an idempotent call may test it,
    "trial": a single call may.
    """

    name: BreakerStateName
    retry_after_s: float = 0.0
    scope: BreakerScope = "platform"


CLOSED = BreakerState("closed")


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """A breaker that opened for `open_s`, or closed; without an account it is the platform's."""

    account: str | None
    change: Literal["opened", "closed"]
    open_s: float
    reason: str


class BreakerCall:
    """A call that the breaker let through; reports its result once."""

    def __init__(self, report: Callable[[bool, bool], object]) -> None:
        self._send_report = report
        self.is_reported = False

    def succeeded(self) -> None:
        self._report(ok=True, reached=True)

    def failed(self, *, reached: bool = True) -> None:
        """Report a failure of the platform; `reached`: the connection was established."""
        self._report(ok=False, reached=reached)

    def _report(self, *, ok: bool, reached: bool) -> None:
        self.is_reported = True
        self._send_report(ok, reached)


class CircuitBreaker:
    """The breakers of the platform at `base_url` and its accounts, for a process' threads.

    `count_waiting` returns how many events wait for an account, or for the platform (None): it is
    logged when a breaker opens or closes.
    """

    def __init__(
        self,
        client: "redis.Redis",
        base_url: str,
        clock: Callable[[], float] = time.monotonic,
        count_waiting: Callable[[str | None], int | None] | None = None,
    ) -> None:
        self._client = client
        self._key = keys.circuit_breaker(urlsplit(base_url).netloc.rpartition("@")[2])
        self._clock = clock
        self._count_waiting = count_waiting
        self._lock = threading.Lock()
        self._platform = CLOSED
        self._accounts: dict[str, BreakerState] = {}
        self._read_at = -REPORT_INTERVAL_S
        self._unreported: dict[str, int] = {}

    def state(self, account: str | None = None) -> BreakerState:
        """Return the state for calls of `account`, at most a second old.

        Acquires no probe, so it suits planning.
        """
        with self._lock:
            age_s = self._clock() - self._read_at
            known = self._select_state(account)
            is_over = known.name == "open" and age_s >= known.retry_after_s
            if age_s < REPORT_INTERVAL_S and not is_over:
                return replace(known, retry_after_s=max(0.0, known.retry_after_s - age_s))
            self._read_at = self._clock()
            calls = self._take_successes()
        self._run("report", 0, *calls)
        with self._lock:
            return self._select_state(account)

    def needs_probe(self, account: str) -> bool:
        """Return whether an idempotent call has to precede a message of `account`."""
        return self.state(account).name == "probe"

    def record(self, *, ok: bool, reached: bool = True, account: str | None = None) -> None:
        """Count the result of a call that was not made through `call`."""
        account = account or ""
        with self._lock:
            if ok:
                self._unreported[account] = self._unreported.get(account, 0) + 1
                return
            calls = self._take_successes()
        if reached:
            calls += [account, 0, 1]
        self._run("report", int(not reached), *calls)

    @contextmanager
    def call(self, account: str | None = None, *, may_probe: bool = True) -> Iterator[BreakerCall]:
        """Let a call through and learn its result; a call that reports none is not counted.

        Raises:
            UnavailableError: the breaker is open, `retry_after_s` says for how long; or it waits
                for a probe, and this call must not be it.
        """
        state = self.state(account)
        if state.name == "closed":
            yield BreakerCall(
                lambda ok, reached: self.record(ok=ok, reached=reached, account=account)
            )
            return
        owner = uuid4().hex
        tested = account if state.scope == "account" and account else ""
        wanted = state.name
        if wanted == "trial" or (wanted == "probe" and may_probe):
            self._run("acquire", tested, owner, int(PROBE_LEASE_S * 1000), wanted)
            with self._lock:
                state = self._select_state(account)
        # A probe that comes too late is no trial: messages may fail where status calls succeed.
        is_late = state.name in {"probe", "trial"} and state.name != wanted
        if state.name == "open" or is_late or (state.name == "probe" and not may_probe):
            raise UnavailableError(
                FAILING[state.scope], retry_after_s=max(0.1, state.retry_after_s)
            )
        call = BreakerCall(
            lambda ok, reached: self._finish(tested, owner, account, ok=ok, reached=reached)
        )
        try:
            yield call
        finally:
            if not call.is_reported:
                self._run("finish", tested, owner, "-", "")

    def _finish(
        self, tested: str, owner: str, account: str | None, *, ok: bool, reached: bool
    ) -> None:
        """Report the result of a probe or trial; a lost connect says nothing about an account."""
        if reached or not tested:
            caller = account if reached and account else ""
            self._run("finish", tested, owner, str(int(ok)), caller)
            return
        self._run("finish", tested, owner, "-", "")
        self.record(ok=False, reached=False)

    def _select_state(self, account: str | None) -> BreakerState:
        """Return an account's state while it is open, else the platform's unless it is closed."""
        own = self._accounts.get(account, CLOSED) if account else CLOSED
        if own.name == "open" or self._platform.name == "closed":
            return own
        return self._platform

    def _take_successes(self) -> list[str | int]:
        """Return the successes to report, as arguments of the script."""
        taken: list[str | int] = []
        for account in list(self._unreported)[:MAX_REPORTED]:
            taken += [account, self._unreported.pop(account), 0]
        return taken

    def _run(self, operation: str, *arguments: str | int) -> None:
        """Run an operation and keep the states that it returns."""
        jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
        platform = CLOSED
        accounts: dict[str, BreakerState] = {}
        changes: list[BreakerChange] = []
        try:
            reply = SCRIPT.run(
                self._client, [self._key, keys.BREAKER_CHANGES], [operation, jitter, *arguments]
            )
            platform = BreakerState(_to_text(reply[0]), reply[1] / 1000)
            for account, name, ms in _group(reply[2], 3):
                state = BreakerState(_to_text(name), ms / 1000, "account")
                accounts[_to_text(account)] = state
            changes = [_read_change(change) for change in _group(reply[3], 4)]
        except redis.RedisError:
            pass
        with self._lock:
            self._platform = platform
            self._accounts = accounts
            self._read_at = self._clock()
        for change in changes:
            self._log_change(change)

    def _log_change(self, change: BreakerChange) -> None:
        waiting = self._count_waiting(change.account) if self._count_waiting else None
        fields = {"account": change.account, "reason": change.reason, "waiting": waiting}
        if change.change == "opened":
            tell("breaker.opened", open_s=round(change.open_s, 1), **fields)
        else:
            tell("breaker.closed", **fields)


def _group(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _read_change(change: Sequence[Any]) -> BreakerChange:
    account, name, ms, reason = change
    return BreakerChange(
        _to_text(account) or None, _to_text(name), int(ms) / 1000, _to_text(reason)
    )


def _to_text(value: bytes | str) -> Any:
    return value.decode() if isinstance(value, bytes) else value

"""What a check of `wpp doctor` found, and the deadline of each check."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Literal

CheckResult = Literal["ok", "fault", "warning", "skipped"]
DEADLINE_S = 15.0
"""How long a check may take; the limits of its connections are shorter."""


@dataclass(frozen=True)
class Finding:
    """What a check found; `action` says what to do about a fault."""

    check: str
    result: CheckResult
    detail: str
    action: str = ""


def examine(
    check: str, work: Callable[[], Iterable[Finding]], waits_for: str, deadline_s: float
) -> list[Finding]:
    """Return what a check found by its deadline; what hangs or breaks is a finding as well.

    `waits_for` says what the check waits for while it has found nothing. A check that hangs is
    left behind in its thread.
    """
    found: list[Finding] = []
    ended = threading.Event()

    def run() -> None:
        try:
            found.extend(work())
        except Exception as error:  # noqa: BLE001 - the checks after it are made all the same
            detail = f"it could not be checked: {type(error).__name__}: {error}"
            found.append(Finding(check, "fault", detail, "see what the other checks say"))
        ended.set()

    threading.Thread(target=run, name=check, daemon=True).start()
    if ended.wait(deadline_s):
        return found
    detail = f"no result within {deadline_s:.0f} s: it waits for {waits_for}"
    return [Finding(check, "fault", detail, "see whether that is overloaded, or behind a firewall")]


def describe(finding: Finding) -> dict[str, str]:
    return asdict(finding)

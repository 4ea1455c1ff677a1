"""Each reason of a state has its cause."""

from typing import get_args

import pytest

from shared import causes
from shared.causes import Cause, NumberChange, find_cause
from shared.errors import (
    DatabaseUnavailableError,
    InvalidApiKeyError,
    RefusedError,
    RouteMissingError,
)
from shared.lanes.sweeper import WORKER_STOPPED
from shared.platform.endpoints import START
from shared.platform.failures import build_no_answer_error
from shared.webhooks.sessions import ADVICE, SESSION_WORDS

CASES: list[tuple[NumberChange, str | None, Cause]] = [
    ("starting", None, "starting"),
    ("starting", causes.STARTED, "starting"),
    ("starting", causes.RESTARTING, "restarting"),
    ("starting", str(build_no_answer_error(START, TimeoutError)), "platform_away"),
    ("starting", causes.PLATFORM_FAILS, "platform_away"),
    ("starting", f"{DatabaseUnavailableError.code}: no answer", "delayed"),
    ("starting", "its worker stopped", "delayed"),
    ("qr_issued", "qr", "code_issued"),
    ("connected", "ready", "connected"),
    ("connected", causes.ACTIVE, "active_again"),
    ("degraded", causes.SILENT, "silent"),
    ("disconnected", causes.NOT_SCANNED, "code_expired"),
    ("disconnected", f"{causes.NOT_SCANNED}: offline", "code_expired"),
    ("disconnected", causes.UNLINKED, "unlinked"),
    ("paused", "paused", "paused"),
    ("resumed", "resumed", "resumed"),
    ("disconnected", f"gone: {ADVICE['unlinked']}", "unlinked"),
    ("disconnected", "logout", "unlinked"),
    ("disconnected", f"CONFLICT: {ADVICE['elsewhere']}", "elsewhere"),
    ("disconnected", causes.REPORTED_OFFLINE, "offline"),
    ("disconnected", causes.TAKEN_OFFLINE, "offline"),
    ("disconnected", None, "offline"),
    ("disconnected", "a word of a newer platform", "offline"),
    ("disconnected", causes.REMOVED, "removed"),
    ("error", InvalidApiKeyError.code, "key_refused"),
    ("error", f"TOS_BLOCK: {ADVICE['blocked']}", "blocked"),
    ("error", f"authFailure: {ADVICE['failed']}", "session_failed"),
    ("error", RefusedError.code, "refused"),
    ("error", RouteMissingError.code, "route_missing"),
    ("error", "expired", "expired"),
    ("error", "internal_error", "internal_error"),
    ("error", WORKER_STOPPED, "internal_error"),
    ("error", "a word of a newer platform", "session_failed"),
]


@pytest.mark.parametrize(("status", "reason", "cause"), CASES)
def test_each_reason_has_its_cause(status: NumberChange, reason: str | None, cause: Cause) -> None:
    assert find_cause(status, reason) == cause


def test_every_cause_is_given() -> None:
    """None is only declared."""
    assert {cause for *_, cause in CASES} == set(get_args(Cause))


def test_every_word_of_the_platform_has_a_cause_of_its_own() -> None:
    """Alone, as rows of the old system have them; `removed` alone is our own."""
    for word, meaning in SESSION_WORDS.items():
        if meaning in {"unlinked", "elsewhere"} and word != causes.REMOVED:
            assert find_cause("disconnected", word) == meaning
        if meaning == "blocked":
            assert find_cause("error", word) == "blocked"

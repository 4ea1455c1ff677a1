"""Why a number is in its state: the pipeline's own words for it, and its name.

The reason of a state is a sentence of the pipeline, a word of the platform with advice, or the code
of an error. Pages show causes: names that have words in every language (workers/ingress/static).
"""

from typing import Literal

from shared.errors import (
    DatabaseUnavailableError,
    InvalidApiKeyError,
    RefusedError,
    RouteMissingError,
)
from shared.outcomes import SessionStatus
from shared.webhooks.sessions import ADVICE, SESSION_WORDS, SessionMeaning
from shared.webhooks.vocabulary import normalize_word

Cause = Literal[
    # on its way
    "starting",
    "restarting",
    "platform_away",
    "delayed",
    "code_issued",
    # it works, or seems to
    "connected",
    "active_again",
    "silent",
    # the phone is lost
    "code_expired",
    "unlinked",
    "elsewhere",
    "offline",
    "removed",
    # its organization decided
    "paused",
    "resumed",
    # it failed
    "key_refused",
    "blocked",
    "session_failed",
    "refused",
    "route_missing",
    "expired",
    "internal_error",
]

NumberChange = SessionStatus | Literal["paused", "resumed"]
"""What the history of a number has: states of its session, and when it was paused and resumed."""

STARTED = "started"
POLLED = "status polled"
NOT_SCANNED = "the code was not scanned in time"
"""Also the beginning of the reason: the platform's word may follow (supabase/migrations)."""
TAKEN_OFFLINE = "the platform took the account offline"
SILENT = "no webhook since a message was sent"
ACTIVE = "webhook received"
RESTARTING = "the platform restarts the account"
REPORTED_OFFLINE = "the platform reports the account offline"
UNLINKED = "the phone is no longer linked"
REMOVED = "removed"
"""The SQL that removes an integration has this word."""
PLATFORM_FAILS = "circuit breaker open: the platform fails or cannot be reached"
PLATFORM_FAILS_NUMBER = "circuit breaker open: the platform fails for this number"

OWN_TROUBLE = (
    f"{DatabaseUnavailableError.code}: ",
    "redis_unavailable: ",
    "internal_error: ",
    "lease lost: ",
    "its worker stopped",
    "retried",
)
"""How the reasons begin for which an event waits, when the platform is not what delays it."""

_LOST: dict[str, Cause] = {
    TAKEN_OFFLINE: "offline",
    REPORTED_OFFLINE: "offline",
    UNLINKED: "unlinked",
    REMOVED: "removed",
}
_OF_MEANING: dict[SessionMeaning, Cause] = {
    "away": "offline",
    "unlinked": "unlinked",
    "elsewhere": "elsewhere",
    "blocked": "blocked",
    "failed": "session_failed",
}
_OF_ERROR: dict[str, Cause] = {
    InvalidApiKeyError.code: "key_refused",
    RefusedError.code: "refused",
    RouteMissingError.code: "route_missing",
    "expired": "expired",
    "internal_error": "internal_error",
    "worker_stopped": "internal_error",
    "failed": "internal_error",
}


def find_cause(status: NumberChange, reason: str | None) -> Cause:
    """Return why a number has a status, by the reason that came with it."""
    text = reason or ""
    match status:
        case "paused" | "resumed":
            return status
        case "starting":
            return _explain_start(text)
        case "connected":
            return "active_again" if text == ACTIVE else "connected"
        case "disconnected":
            return _explain_loss(text)
        case "error":
            return _OF_ERROR.get(text) or _read_words(text) or "session_failed"
    return "code_issued" if status == "qr_issued" else "silent"


def _explain_start(reason: str) -> Cause:
    """Return how far a start is; a reason without a name of its own is an answer to a call."""
    if reason in {"", STARTED, POLLED}:
        return "starting"
    if reason == RESTARTING:
        return "restarting"
    return "delayed" if reason.startswith(OWN_TROUBLE) else "platform_away"


def _explain_loss(reason: str) -> Cause:
    if reason.startswith(NOT_SCANNED):
        return "code_expired"
    return _LOST.get(reason) or _read_words(reason) or "offline"


def _read_words(reason: str) -> Cause | None:
    """Return what the platform's words mean: by the advice that follows them, or by themselves."""
    for meaning, advice in ADVICE.items():
        if reason.endswith(advice):
            return _OF_MEANING[meaning]
    word = normalize_word(reason).removeprefix("session.").replace(".", "")
    meaning = SESSION_WORDS.get(word, "passing")
    return _OF_MEANING.get(meaning)

"""Read calls: ringing, missed, declined, answered; as events, and as lines of the phone's log."""

from collections.abc import Mapping
from typing import Any, Literal

from shared.webhooks.answers import Description
from shared.webhooks.fields import find_value, parse_flag, parse_text
from shared.webhooks.vocabulary import normalize_word

CALL_WORDS = frozenset(
    {
        *("call", "call.log", "calllog", "calllogmesssage", "incomingcall", "oncall"),
        *("onincomingcall", "call.received", "call.offer", "call.offer.notice", "call.incoming"),
        *("call.accepted", "call.answered", "call.rejected", "call.declined", "call.missed"),
        *("call.ended", "call.terminate", "call.terminated", "call.timeout", "call.created"),
    }
)
"""Types of events and of messages about a call."""

CallOutcome = Literal["missed", "declined", "answered"]
_OUTCOME_WORDS: dict[CallOutcome, str] = {
    "missed": "missed timeout unanswered noanswer failed cancelled canceled abandoned",
    "declined": "declined reject rejected refused busy silenced",
    "answered": "answered accept accepted connected completed ongoing acceptedelsewhere",
}
OUTCOMES: dict[str, CallOutcome] = {
    word: outcome for outcome, words in _OUTCOME_WORDS.items() for word in words.split()
}
_NUMBERS: tuple[CallOutcome, ...] = (
    *("answered", "missed", "missed", "declined", "answered", "answered", "missed", "missed"),
)
"""The outcomes of a Baileys call log by number: connected, missed, failed, rejected, accepted
elsewhere, ongoing, silenced for two reasons."""
_OUTCOME_FIELDS = ("callOutcome", "outcome", "callStatus", "status", "state", "event", "tag")
_DURATION_FIELDS = ("callDuration", "durationSecs", "durationSeconds", "duration")
_MAX_DURATION_S = 1_000_000


def describe_call(fields: Mapping[str, Any], words: tuple[str, ...]) -> tuple[Description, bool]:
    """Return a call, and whether its end is known. `words`: the types of its event."""
    video = find_value(fields, "isVideo", "isVideoCall", "video")
    kind = "call" if video is None else "video call" if parse_flag(video) else "voice call"
    outcome = _find_outcome(fields, words)
    duration_s = _read_duration(fields)
    if outcome is None and duration_s:
        outcome = "answered"
    label = f"{outcome} {kind}" if outcome else kind
    call: dict[str, Any] = {}
    if video is not None:
        call["video"] = parse_flag(video)
    if outcome:
        call["outcome"] = outcome
    if duration_s and outcome == "answered":
        call["duration_s"] = duration_s
        label += f", {duration_s // 60}:{duration_s % 60:02}"
    metadata = {"call": call} if call else {}
    return Description(f"[{label.capitalize()}]", metadata), outcome is not None


def _find_outcome(fields: Mapping[str, Any], words: tuple[str, ...]) -> CallOutcome | None:
    for name in ("isMissed", "missed"):
        if parse_flag(fields.get(name)):
            return "missed"
    number = fields.get("callOutcome")
    if isinstance(number, int) and 0 <= number < len(_NUMBERS):
        return _NUMBERS[number]
    for name in _OUTCOME_FIELDS:
        text = parse_text(fields.get(name)) or ""
        if outcome := OUTCOMES.get(normalize_word(text).replace(".", "")):
            return outcome
    for word in words:
        if outcome := OUTCOMES.get(word.removeprefix("call.")):
            return outcome
    return None


def _read_duration(fields: Mapping[str, Any]) -> int:
    value = find_value(fields, *_DURATION_FIELDS)
    try:
        duration_s = int(value) if not isinstance(value, bool) else 0
    except (TypeError, ValueError, OverflowError):
        return 0
    return duration_s if 0 < duration_s < _MAX_DURATION_S else 0

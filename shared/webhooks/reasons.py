"""Read the reason that the platform gives for a failure or a state."""

from collections.abc import Iterator, Mapping
from typing import Any

from shared.webhooks.fields import parse_text

MAX_REASON = 500
_REASON_FIELDS = (
    *("reason", "error", "errorMessage", "errors", "lastError", "description", "failureReason"),
    *("failReason", "statusReason", "errorText", "errorDescription", "errorCode"),
)
"""`message` is left out: it may hold the text that was to be sent."""
_TEXT_NAMES = ("message", "title", "reason", "description", "text", "error", "name")
_DETAIL_NAMES = ("details", "detail")
_CODE_NAMES = ("code", "errorCode", "statusCode", "status")
_MAX_LEVELS = 4
_MAX_ERRORS = 5


def find_reason(fields: Mapping[str, Any]) -> str | None:
    """Return the platform's reason: a text, or what an error object or a list of errors says."""
    for name in _REASON_FIELDS:
        if name in fields and (reason := _describe(fields[name], _MAX_LEVELS)):
            return reason[:MAX_REASON]
    return None


def _describe(value: Any, levels: int) -> str | None:
    if levels == 0:
        return None
    if isinstance(value, list):
        found = (_describe(item, levels - 1) for item in value[:_MAX_ERRORS])
        return "; ".join(dict.fromkeys(filter(None, found))) or None
    if isinstance(value, dict):
        return _describe_error(value, levels)
    return parse_text(value)


def _describe_error(error: Mapping[str, Any], levels: int) -> str | None:
    """Return an error's text, with its details and its code where it has them."""
    texts = [*_find(error, _TEXT_NAMES, levels), *_find_details(error, levels)]
    code = next(iter(_find(error, _CODE_NAMES, levels)), None)
    text = ": ".join(dict.fromkeys(texts))
    return f"{text} ({code})" if text and code and code not in text else text or code


def _find_details(error: Mapping[str, Any], levels: int) -> list[str]:
    data = error.get("error_data") or error.get("errorData")
    inner = _find(data, _DETAIL_NAMES, levels) if isinstance(data, dict) else []
    return [*_find(error, _DETAIL_NAMES, levels), *inner]


def _find(error: Mapping[str, Any], names: tuple[str, ...], levels: int) -> list[str]:
    """Return the first readable value of the named members, in a list."""
    found: Iterator[str | None] = (
        _describe(error[name], levels - 1) for name in names if name in error
    )
    return [text for text in (next(filter(None, found), None),) if text]

"""The shapes in which events arrive, read as one.

Flat: the fields are at the root. Enveloped: `id`, `type`, `created` at the root, the fields in `data`. Legacy: `event`
in place of `type`. Anything may be missing, of another type than it should be, or hostile: nothing here raises but
`split`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.webhooks.vocabulary import normalize_word

MAX_DEPTH = 64
MAX_ID = 256
"""Characters. The longest ids seen have 60."""

_ENVELOPE = frozenset({"id", "type", "event", "created", "data"})
_EPOCH = datetime(2009, 1, 1, tzinfo=UTC)
"""WhatsApp's first year: an earlier time is a mistake."""
_CLOCK_SKEW = timedelta(minutes=5)
_UNFIT = re.compile("[\x00\ud800-\udfff]")
"""What neither UTF-8 nor Postgres can hold."""


@dataclass(frozen=True)
class Payload:
    """One event. `word` is its type as written; `fields` what it says, wherever that stood."""

    word: str
    words: tuple[str, ...]
    flat: bool
    event_id: str | None
    created: Any
    fields: Mapping[str, Any]


def split_body(body: Any) -> list[dict[str, Any]]:
    """Return the events of one JSON body: an event, a list of them, or a list in an envelope's `events` or `data`.

    Their texts can be stored anywhere: NUL and half surrogates are replaced.

    Raises:
        ValueError: it is no event, said in words.
    """
    if isinstance(body, list):
        strangers = [place for place, item in enumerate(body) if not isinstance(item, dict)]
        if strangers:
            msg = f"event {strangers[0]} of the list is not a JSON object"
            raise ValueError(msg)
        return [_scrub(event, 0) for item in body for event in _unpack(item)]
    if isinstance(body, dict):
        return [_scrub(event, 0) for event in _unpack(body)]
    msg = f"an event is a JSON object, or a list of them, not {type(body).__name__}"
    raise ValueError(msg)


def parse_payload(payload: Mapping[str, Any]) -> Payload:
    """Return what an event says, whichever shape it has."""
    data = payload.get("data")
    flat = _says_something(payload) or not isinstance(data, dict)
    fields = (
        payload
        if flat
        else {k: v for k, v in payload.items() if k not in _ENVELOPE} | dict(data or {})
    )
    words = tuple(
        word for word in (parse_text(payload.get("type")), parse_text(payload.get("event"))) if word
    )
    if not words and not flat and (inner := parse_text(fields.get("type"))):
        words = (inner,)
    named = parse_id(payload.get("id"))
    return Payload(
        word=words[0] if words else "unknown",
        words=tuple(normalize_word(word) for word in words),
        flat=flat,
        event_id=named if named and (not flat or named.startswith("evt_")) else None,
        created=payload.get("created"),
        fields=fields,
    )


def find_time(shape: Payload, accepted_at: datetime) -> datetime | None:
    """Return when it happened by the platform's clock, or None where it says nothing believable."""
    for value in (
        *(shape.fields.get(name) for name in ("timestamp", "t", "messageTimestamp")),
        shape.created,
    ):
        at = _time(value)
        if at and _EPOCH <= at <= accepted_at + _CLOCK_SKEW:
            return at
    return None


def find_value(fields: Mapping[str, Any], *names: str) -> Any:
    """Return the first of the named fields that holds something, or None."""
    return next(
        (fields[name] for name in names if fields.get(name) not in (None, "", [], {})), None
    )


def parse_text(value: Any) -> str | None:
    """Return a text or a number as a text that is not blank, or None."""
    if isinstance(value, str):
        return scrub_text(value).strip() or None
    number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    return str(value) if number else None


def parse_id(value: Any) -> str | None:
    """Return an id, as a text, a number or WhatsApp's object of its parts, or None."""
    if value is None:
        return None
    if isinstance(value, dict):
        value = find_value(value, "_serialized", "id")
    found = parse_text(value)
    return found if found and len(found) <= MAX_ID else None


def parse_flag(value: Any) -> bool:
    """Return whether a flag is set: true, 1, "true"."""
    return (
        value is True
        or value == 1
        or (isinstance(value, str) and value.strip().lower() in ("true", "1"))
    )


def find_object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object in a field; an empty one where there is none."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def scrub_text(value: str) -> str:
    """Return a text without what can't be stored."""
    return _UNFIT.sub("\ufffd", value) if not value.isascii() or "\x00" in value else value


def scrub_number(value: Any) -> Any:
    """Return a number that JSON and Postgres can hold, or None; other values as they are."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return float(value) if abs(value) < 1 << 1000 else None
    return value


def _says_something(payload: Mapping[str, Any]) -> bool:
    sender = find_value(payload, "from", "raw_from", "chatId")
    return sender is not None and any(
        payload.get(name) is not None for name in ("text", "body", "media")
    )


def _unpack(body: dict[str, Any]) -> list[dict[str, Any]]:
    if events := _objects(body.get("events")):
        return [
            part
            for event in events
            for part in _unpack_data({**_common(body, "account", "session"), **event})
        ]
    return _unpack_data(body)


def _unpack_data(body: dict[str, Any]) -> list[dict[str, Any]]:
    if not (data := _objects(body.get("data"))):
        return [body]
    common = _common(body, "type", "event", "created", "account", "session")
    named = parse_id(body.get("id"))
    return [
        {**({"id": f"{named}#{place}"} if named else {}), **common, "data": item}
        for place, item in enumerate(data)
    ]


def _common(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return what is said once for all events of a list, if it is small: every one of them gets a copy."""
    return {name: body[name] for name in names if parse_id(body.get(name))}


def _objects(value: Any) -> list[dict[str, Any]]:
    """Return a list of objects, or an empty one for anything else."""
    return (
        value if isinstance(value, list) and all(isinstance(item, dict) for item in value) else []
    )


def _scrub(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        msg = f"the event is nested deeper than {MAX_DEPTH} levels"
        raise ValueError(msg)
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, dict):
        return {scrub_text(name): _scrub(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_scrub(item, depth + 1) for item in value]
    return scrub_number(value)


def _time(value: Any) -> datetime | None:
    if isinstance(value, str) and not re.fullmatch(r"\s*[0-9.]{1,20}\s*", value):
        return _iso(value)
    try:
        number = float(value) if not isinstance(value, bool) else 0.0
    except (TypeError, ValueError, OverflowError):
        return None
    if number > 1e14:
        number /= 1e6  # microseconds
    elif number > 1e11:
        number /= 1e3
    return datetime.fromtimestamp(number, UTC) if 0 < number < 1e11 else None


def _iso(value: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)

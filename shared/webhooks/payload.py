"""Split a posted body into events, and parse each event, whichever envelope it has, into a Payload.

Flat: the fields are at the root. Enveloped: `id`, `type`, `created` at the root, the fields in
`data`. Legacy: `event` in place of `type`. Any field may be missing or of a wrong type.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from shared.errors import PipelineError
from shared.webhooks.fields import (
    find_value,
    parse_id,
    parse_text,
    parse_timestamp,
    scrub_number,
    scrub_text,
)
from shared.webhooks.vocabulary import normalize_word

MAX_DEPTH = 64
MAX_EVENTS = 10_000
"""Events of one body: a longer list takes minutes to store, and its sender waits for seconds."""

_ENVELOPE = frozenset({"id", "type", "event", "created", "data"})
_EPOCH = datetime(2009, 1, 1, tzinfo=UTC)
"""WhatsApp's first year: an earlier time is a mistake."""
_CLOCK_SKEW = timedelta(minutes=5)
_EVENT_ID_PREFIX = "evt_"


class TooManyEventsError(PipelineError):
    """A body holds more events than are accepted at once."""

    code = "too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A body may hold at most {limit} events.")


@dataclass(frozen=True)
class Payload:
    """An event as the platform posted it, parsed."""

    raw: Mapping[str, Any]
    type: str
    """As the platform wrote it; "unknown" where it has none."""
    types: tuple[str, ...]
    """Normalized: the type, and in an event of both spellings also the legacy `event`."""
    is_flat: bool
    event_id: str | None
    created: Any
    fields: Mapping[str, Any]
    """What the event says, from the root and from the envelope's `data`."""


def split_body(body: Any, max_events: int = MAX_EVENTS) -> list[dict[str, Any]]:
    """Return the events of a JSON body.

    A body is an event, a list of events, or an envelope with a list in `events` or `data`.
    Characters that Postgres cannot store are replaced.

    Raises:
        TooManyEventsError: the body holds more than `max_events`; none of them was examined.
        ValueError: the body holds no event. The text says what it holds instead.
    """
    items = _list_items(body)
    if len(items) > max_events:
        raise TooManyEventsError(max_events)
    events = list(islice((event for item in items for event in _unpack(item)), max_events + 1))
    if len(events) > max_events:
        raise TooManyEventsError(max_events)
    return [_scrub(event, 0) for event in events]


def parse_payload(raw: Mapping[str, Any]) -> Payload:
    """Parse an event. Never raises."""
    data = raw.get("data")
    is_flat = not isinstance(data, dict) or _has_content(raw)
    fields = raw if is_flat else _merge_envelope(raw, data or {})
    types = [text for text in (parse_text(raw.get("type")), parse_text(raw.get("event"))) if text]
    if not types and not is_flat and (inner := parse_text(fields.get("type"))):
        types = [inner]
    root_id = parse_id(raw.get("id"))
    names_event = root_id and (not is_flat or is_event_id(root_id))
    return Payload(
        raw=raw,
        type=types[0] if types else "unknown",
        types=tuple(map(normalize_word, types)),
        is_flat=is_flat,
        event_id=root_id if names_event else None,
        created=raw.get("created"),
        fields=fields,
    )


def find_time(payload: Payload, accepted_at: datetime) -> datetime | None:
    """Return when the event happened by the platform's clock, or None without a plausible time."""
    fields = payload.fields
    for value in (
        fields.get("timestamp"),
        fields.get("t"),
        fields.get("messageTimestamp"),
        payload.created,
    ):
        at = parse_timestamp(value) if value is not None else None
        if at and _EPOCH <= at <= accepted_at + _CLOCK_SKEW:
            return at
    return None


def is_event_id(name: str) -> bool:
    """Return whether an id is the platform's id of an event, which identifies no message."""
    return name.startswith(_EVENT_ID_PREFIX)


def _list_items(body: Any) -> list[dict[str, Any]]:
    if isinstance(body, dict):
        return [body]
    if isinstance(body, list):
        invalid = (index for index, item in enumerate(body) if not isinstance(item, dict))
        if (first := next(invalid, None)) is None:
            return body
        msg = f"event {first} of the list is not a JSON object"
        raise ValueError(msg)
    msg = f"an event is a JSON object, or a list of them, not {type(body).__name__}"
    raise ValueError(msg)


def _merge_envelope(raw: Mapping[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if name not in _ENVELOPE} | data


def _has_content(raw: Mapping[str, Any]) -> bool:
    if find_value(raw, "from", "raw_from", "chatId") is None:
        return False
    return any(raw.get(name) is not None for name in ("text", "body", "media"))


def _unpack(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    events = _list_objects(body.get("events"))
    if not events:
        yield from _unpack_data(body)
        return
    shared = _copy_small(body, "account", "session")
    for event in events:
        yield from _unpack_data({**shared, **event})


def _unpack_data(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    items = _list_objects(body.get("data"))
    if not items:
        yield body
        return
    shared = _copy_small(body, "type", "event", "created", "account", "session")
    envelope_id = parse_id(body.get("id"))
    for index, item in enumerate(items):
        own_id = {"id": f"{envelope_id}#{index}"} if envelope_id else {}
        yield {**own_id, **shared, "data": item}


def _copy_small(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the named fields that are short: every event of a list gets a copy of them."""
    return {name: body[name] for name in names if parse_id(body.get(name))}


def _list_objects(value: Any) -> list[dict[str, Any]]:
    """Return a list of objects, or an empty list."""
    is_list = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    return value if is_list else []


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

"""Parse an event, whichever envelope it has, into a Payload.

Flat: the fields are at the root. Enveloped: `id`, `type`, `created` at the root, the fields in
`data` (WAHA: in `payload`). Legacy: `event` in place of `type`. Any field may be missing or of a
wrong type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.webhooks.dialects import flatten_fields
from shared.webhooks.fields import find_value, parse_id, parse_text
from shared.webhooks.vocabulary import normalize_word

_ENVELOPE = frozenset({"id", "type", "event", "created", "data", "payload"})
_EVENT_ID_PREFIX = "evt_"


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


def parse_payload(raw: Mapping[str, Any]) -> Payload:
    """Parse an event. Never raises."""
    data = raw.get("data")
    if not isinstance(data, dict):
        data = raw.get("payload")
    is_flat = not isinstance(data, dict) or _has_content(raw)
    fields = flatten_fields(raw if is_flat else _merge_envelope(raw, data or {}))
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


def is_event_id(name: str) -> bool:
    """Return whether an id is the platform's id of an event, which identifies no message."""
    return name.startswith(_EVENT_ID_PREFIX)


def _merge_envelope(raw: Mapping[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if name not in _ENVELOPE} | data


def _has_content(raw: Mapping[str, Any]) -> bool:
    if find_value(raw, "from", "raw_from", "chatId") is None:
        return False
    return any(raw.get(name) is not None for name in ("text", "body", "media"))

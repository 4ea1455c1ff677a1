"""Split a posted body into events. An event that cannot be stored is left out, and the rest kept.

A body is an event, a list of events, an envelope with a list in `events`, `data` or `messages`, or
a body of Meta's Cloud API.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from shared.errors import PipelineError
from shared.webhooks import dialects
from shared.webhooks.fields import parse_id, scrub_number, scrub_text

MAX_DEPTH = 64
MAX_EVENTS = 10_000
"""Events of one body: a longer list takes minutes to store, and its sender waits for seconds."""

_CUT_DEPTH = 2 * MAX_DEPTH
TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A text, which may lack its end, or a bracket outside of texts.

A text without an end is one token: else it would be tried again from each of its quotes.
"""


class TooManyEventsError(PipelineError):
    """A body holds more events than are accepted at once."""

    code = "too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A body may hold at most {limit} events.")


class SplitBody(NamedTuple):
    """The events of a body, and why each further item of its lists is no event."""

    events: list[dict[str, Any]]
    refused: list[str]


def parse_json(body: bytes | bytearray) -> Any:
    """Return the value of a JSON body. What is nested too deeply for the parser is null.

    An event that holds it is refused by `split_body`, and the rest of its list is kept.

    Raises:
        ValueError: the body is not JSON, or is nested too deeply in another encoding than UTF-8.
    """
    try:
        return json.loads(body)
    except RecursionError:
        return _parse_cut(_cut_depth(bytes(body)))


def _parse_cut(body: bytes) -> Any:
    try:
        return json.loads(body)
    except RecursionError:  # brackets in UTF-16 may look like parts of a text
        msg = "the body is nested too deeply"
        raise ValueError(msg) from None


def split_body(body: Any, max_events: int = MAX_EVENTS) -> SplitBody:
    """Return the events of a JSON body. Characters that Postgres cannot store are replaced.

    Raises:
        TooManyEventsError: the body holds more than `max_events`; none of them was examined.
        ValueError: the body holds no event. The text says what it holds instead.
    """
    items = body if isinstance(body, list) else [body]
    if len(items) > max_events:
        raise TooManyEventsError(max_events)
    events: list[dict[str, Any]] = []
    refused: list[str] = []
    for index, item in enumerate(_unpack_all(items)):
        if index == max_events:
            raise TooManyEventsError(max_events)
        try:
            events.append(_require_event(item))
        except ValueError as error:
            refused.append(str(error))
    if refused and not events:
        raise ValueError(refused[0])
    return SplitBody(events, refused)


def _require_event(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        msg = f"an event is a JSON object, or a list of them, not {type(item).__name__}"
        raise ValueError(msg)  # noqa: TRY004 - a body is wrong, not an argument
    event: dict[str, Any] = _scrub(item, 0)
    return event


def _unpack_all(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, dict):
            yield from _unpack(item)
        else:
            yield item


def _unpack(body: dict[str, Any]) -> Iterator[Any]:
    if (items := dialects.list_items(body)) is not None:
        shared = _copy_small(body, "account", "session")
        yield from ({**shared, **item} for item in items) if items else (body,)
        return
    events = _find_events(body.get("events"))
    if not events:
        yield from _unpack_data(body)
        return
    shared = _copy_small(body, "account", "session")
    for event in events:
        if isinstance(event, dict):
            yield from _unpack_data({**shared, **event})
        else:
            yield event


def _unpack_data(body: dict[str, Any]) -> Iterator[Any]:
    data = body.get("data")
    items = _find_events(data.get("messages") if isinstance(data, dict) else data)
    if not items:
        yield body
        return
    shared = _copy_small(body, "type", "event", "created", "account", "session")
    envelope_id = parse_id(body.get("id"))
    for index, item in enumerate(items):
        own_id = {"id": f"{envelope_id}#{index}"} if envelope_id else {}
        yield {**own_id, **shared, "data": item} if isinstance(item, dict) else item


def _copy_small(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the named fields that are short: every event of a list gets a copy of them."""
    return {name: body[name] for name in names if parse_id(body.get(name))}


def _find_events(value: Any) -> list[Any]:
    """Return a list with an object in it, or an empty list."""
    is_list = isinstance(value, list) and any(isinstance(item, dict) for item in value)
    return value if is_list else []


def _cut_depth(body: bytes) -> bytes:
    """Return JSON with null in place of each value that is nested deeper than `_CUT_DEPTH`."""
    parts: list[bytes] = []
    depth = start = 0
    for token in TOKEN.finditer(body):
        if token[0] in (b"[", b"{"):
            depth += 1
            if depth == _CUT_DEPTH:
                parts += [body[start : token.start()], b"null"]
        elif token[0] in (b"]", b"}"):
            if depth == _CUT_DEPTH:
                start = token.end()
            depth -= 1
    return b"".join([*parts, body[start:]])


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

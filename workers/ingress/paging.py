"""Pages of long lists: a cursor is opaque to callers, and names the last item of a page."""

import base64
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from fastapi.exceptions import RequestValidationError

MAX_LIMIT = 200
STORED_TIME = re.compile(
    r"-?infinity|[0-9]{4,6}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}(\.[0-9]{1,6})?"
    r"([+-][0-9]{2}(:[0-9]{2}){0,2})?( BC)?"
)
"""A time as Postgres writes it into JSON."""

PageLimit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items at most.")]
PageCursor = Annotated[
    str | None,
    Query(max_length=512, description="`next` of the page before. Default: the first page."),
]


def write_cursor(order: str, place: Sequence[str | None]) -> str:
    """Return the cursor after an item. `place`: its time, and what tells it from others of it."""
    return base64.urlsafe_b64encode(json.dumps([order, *place]).encode()).decode().rstrip("=")


def read_cursor(order: str, cursor: str | None) -> list[str] | None:
    """Return the place that a cursor names, or None for the first page.

    Raises:
        RequestValidationError: it is no cursor of a list in this order.
    """
    if cursor is None:
        return None
    try:
        time, name = _read(order, cursor)
        return [datetime.fromisoformat(time).isoformat(), name]
    except (ValueError, TypeError, OverflowError):
        raise _refuse() from None


def read_stored_cursor(order: str, cursor: str | None) -> tuple[str | None, str] | None:
    """Return the place that a cursor names in a list by times that users may write.

    They are as Postgres writes them, None for a row without a time. Raises as `read_cursor`.
    """
    if cursor is None:
        return None
    try:
        time, name = _read(order, cursor)
    except (ValueError, TypeError):
        raise _refuse() from None
    if time is None or (isinstance(time, str) and STORED_TIME.fullmatch(time)):
        return time, name
    raise _refuse()


def _read(order: str, cursor: str) -> tuple[Any, str]:
    """Return time and name of a cursor, or raise ValueError or TypeError."""
    found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    given_order, time, name = found
    if given_order == order and isinstance(name, str) and name.isprintable():
        return time, name
    raise ValueError


def _refuse() -> RequestValidationError:
    message = "it is no `next` of this list in this order: begin again without it"
    return RequestValidationError([{"type": "cursor", "loc": ("query", "cursor"), "msg": message}])

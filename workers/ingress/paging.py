"""Pages of long lists: a cursor is opaque to callers, and names the last item of a page."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import Query
from fastapi.exceptions import RequestValidationError

MAX_LIMIT = 200

PageLimit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items at most.")]
PageCursor = Annotated[
    str | None,
    Query(max_length=512, description="`next` of the page before. Default: the first page."),
]


def write_cursor(order: str, place: Sequence[str]) -> str:
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
        found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        given_order, time, name = found
        if given_order == order and isinstance(name, str) and name.isprintable():
            return [datetime.fromisoformat(time).isoformat(), name]
    except (binascii.Error, ValueError, TypeError, OverflowError):
        pass
    message = "it is no `next` of this list in this order: begin again without it"
    raise RequestValidationError([{"type": "cursor", "loc": ("query", "cursor"), "msg": message}])

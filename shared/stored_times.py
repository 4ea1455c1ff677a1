"""Times of rows that users may write. Postgres holds times that Python cannot.

These are `infinity`, `-infinity`, and years after 9999 or before Christ.
"""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator

OLDEST = datetime(1, 1, 2, tzinfo=UTC)
NEWEST = datetime(9999, 12, 30, tzinfo=UTC)
"""A day from what Python can hold: such a time may be shown in any zone."""


def read_time(value: object) -> datetime | None:
    """Return a time as Postgres or a user has written it; None where Python cannot hold it."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return found if OLDEST <= found <= NEWEST else None


def clamp_time(value: object) -> datetime:
    """Return the nearest time that can be shown. Without a time, it is the oldest."""
    if (found := read_time(value)) is not None:
        return found
    text = "" if value is None else str(value)
    is_old = not text or text.startswith(("-", "0001-01-")) or text.endswith(" BC")
    return OLDEST if is_old else NEWEST


StoredTime = Annotated[datetime | None, BeforeValidator(read_time)]
"""None where the row has no time that can be shown."""
ClampedTime = Annotated[datetime, BeforeValidator(clamp_time)]

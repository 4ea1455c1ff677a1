"""Dead letters: put back in slices, or dropped with a trace of who and why."""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.database import Database, DeadLetter, DeadLetterQuery
from shared.errors import NotFoundError
from workers.dead_letters import Replayer

SLICE = 20
"""Letters that are put back at a time: about a second, and Redis serves further clients between."""


@dataclass(frozen=True)
class ReplayedSlice:
    """What became of some letters. `after` is where the next slice begins; None: these were all."""

    replayed: int
    skipped: int
    after: DeadLetter | None


def replay_slice(
    query: DeadLetterQuery, after: tuple[str, str] | None, replayer: Replayer, database: Database
) -> ReplayedSlice:
    """Put the next matching letters back, in the order in which their events were accepted.

    `after`: acceptance and id of the last letter of the slice before.
    """
    letters = database.dead_letters.list_oldest(query, after, SLICE)
    replayed, skipped = replayer.replay(letters)
    return ReplayedSlice(replayed, skipped, letters[-1] if len(letters) == SLICE else None)


def drop_letters(ids: Sequence[UUID], who: str, why: str, database: Database) -> list[UUID]:
    """Close letters without a replay; return the ids of those that were open.

    Raises:
        NotFoundError: the dead letter does not exist.
    """
    dropped = database.dead_letters.drop(ids, who, why)
    if left := set(ids) - set(dropped):
        found = database.dead_letters.find(
            DeadLetterQuery(ids=sorted(left), replayed=True, limit=len(left))
        )
        if missing := left - {letter.id for letter in found}:
            msg = f"no dead letter {', '.join(sorted(map(str, missing)))}"
            raise NotFoundError(msg)
    return dropped


def explain_closed(letter: DeadLetter) -> str | None:
    """Return how a letter was closed, by which person and why; None while it is open."""
    if letter.replayed_at is None:
        return None
    verb = "dropped" if letter.dropped_why is not None else "put back"
    by = f" by {letter.closed_by}" if letter.closed_by else ""
    why = f": {letter.dropped_why}" if letter.dropped_why else ""
    return f"{verb}{by}{why}"


def name_operator() -> str:
    """Return who runs a command, for the trace of what it does."""
    try:
        return f"{getpass.getuser()} (wpp)"
    except (KeyError, OSError):  # a container's user has no name
        return "wpp"

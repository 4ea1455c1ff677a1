"""The page Dead letters: find what ended without success, put it back, or drop it."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import redis
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from shared.database import DeadLetter, DeadLetterQuery
from shared.errors import NotFoundError
from shared.events import utc_now
from workers.dead_letters import Replayer
from workers.ingress.console.access import OperatorDep
from workers.ingress.deps import AppState, StateDep
from workers.ingress.paging import PageCursor, read_cursor, write_cursor
from workers.repair import letters

router = APIRouter(prefix="/console/data/dead-letters", include_in_schema=False)

PAGE = 50
PER_SECOND = 50.0


class LetterFilter(BaseModel):
    """What an operator looks for. All given conditions hold."""

    model_config = ConfigDict(extra="forbid")

    organization_id: UUID | None = None
    number: UUID | None = None
    account: str | None = None
    kind: str | None = None
    reason: str | None = None
    since: datetime | None = None
    closed: bool = False

    def to_query(self, **more: Any) -> DeadLetterQuery:
        given = self.model_dump(exclude={"closed"}, exclude_none=True)
        return DeadLetterQuery(**given, replayed=self.closed, **more)


class ReplayMany(BaseModel):
    """The next slice of a replay. `until`: when it was asked for; `after` is that of the answer."""

    model_config = ConfigDict(extra="forbid")

    filter: LetterFilter
    until: datetime
    after: str | None = Field(default=None, max_length=512)


class DropLetter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    why: str = Field(min_length=1, max_length=500)


@router.get("")
def list_letters(
    operator: OperatorDep,
    state: StateDep,
    wanted: Annotated[LetterFilter, Depends()],
    cursor: PageCursor = None,
) -> dict[str, Any]:
    """Return a page of letters, the newest first; the first page with their number."""
    del operator
    query = wanted.to_query(limit=PAGE)
    place = read_cursor("letters", cursor)
    found = state.database.dead_letters.find(query, (place[0], place[1]) if place else None)
    last = found[-1] if len(found) == PAGE else None
    names = state.database.repair.name_organizations(
        each.organization_id for each in found if each.organization_id
    )
    return {
        "items": [describe_letter(each, names) for each in found],
        "next": write_cursor("letters", [last.at.isoformat(), str(last.id)]) if last else None,
        "total": None if cursor else state.database.dead_letters.count(query),
        "now": utc_now(),
    }


@router.post("/replay")
def replay_many(
    operator: OperatorDep, state: StateDep, wanted: ReplayMany, response: Response
) -> dict[str, Any]:
    """Put the next slice of matching letters back; `next` is where the rest begins.

    A letter that dies again meanwhile is not among them.
    """
    place = read_cursor("replay", wanted.after)
    done = letters.replay_slice(
        wanted.filter.to_query(until=wanted.until),
        (place[0], place[1]) if place else None,
        _replayer(operator.name, state),
        state.database,
    )
    given = wanted.filter.model_dump_json(exclude_defaults=True)
    response.headers["Location"] = f"/console/data/dead-letters {given}"
    last = done.after
    following = last and write_cursor("replay", [last.accepted_at.isoformat(), str(last.id)])
    return {"replayed": done.replayed, "skipped": done.skipped, "next": following}


@router.post("/{letter_id}/replay")
def replay_letter(letter_id: UUID, operator: OperatorDep, state: StateDep) -> dict[str, Any]:
    """Put a letter back; where it is closed already, say by which person.

    Raises:
        NotFoundError: the dead letter does not exist.
    """
    letter = _find(letter_id, state)
    if letter.replayed_at is None:
        replayed, _ = _replayer(operator.name, state).replay([letter])
        if replayed:
            return {"done": True, "text": "It is back in its queue."}
        letter = _find(letter_id, state)
    return _tell_closed(letter, "It was not put back: it waits already, or cannot be read.")


@router.post("/{letter_id}/drop")
def drop_letter(
    letter_id: UUID, given: DropLetter, operator: OperatorDep, state: StateDep
) -> dict[str, Any]:
    """Close a letter without a replay; where it is closed already, say by which person.

    Raises:
        NotFoundError: the dead letter does not exist.
    """
    if letters.drop_letters([letter_id], operator.name, given.why.strip(), state.database):
        return {"done": True, "text": "It is dropped."}
    return _tell_closed(_find(letter_id, state), "It was not dropped.")


def describe_letter(letter: DeadLetter, names: dict[UUID, str]) -> dict[str, Any]:
    """Return what a page shows of a letter: all but the event itself."""
    wanted = {"id", "organization_id", "account", "kind", "reason", "detail", "attempts", "at"}
    return {
        **letter.model_dump(mode="json", include=wanted),
        "organization": names.get(letter.organization_id) if letter.organization_id else None,
        "to": _text(letter.event.get("to")),
        "number": _text(letter.event.get("integration_id")),
        "closed": letters.explain_closed(letter),
        "closed_at": letter.replayed_at,
    }


def _tell_closed(letter: DeadLetter, otherwise: str) -> dict[str, Any]:
    closed = letters.explain_closed(letter)
    text = f"Nothing was done: it was {closed}." if closed else otherwise
    return {"done": False, "text": text, "at": letter.replayed_at}


def _find(letter_id: UUID, state: AppState) -> DeadLetter:
    query = DeadLetterQuery(ids=[letter_id], replayed=True, limit=1)
    found = state.database.dead_letters.find(query)
    if not found:
        msg = f"no dead letter {letter_id}"
        raise NotFoundError(msg)
    return found[0]


def _replayer(name: str, state: AppState) -> Replayer:
    clients = state.clients

    def find_client(letter: DeadLetter) -> redis.Redis:
        return clients.of_owner(letter.organization_id, letter.account, state.database)

    replayer = Replayer(clients.home, state.lanes, state.database, PER_SECOND, by=name)
    replayer.find_client = find_client
    return replayer


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None

"""The page Webhooks: what the platform sent, what became of it, and applying it again."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from shared.database.models import LoggedEvent, LogQuery
from workers.ingress.console.access import OperatorDep
from workers.ingress.deps import StateDep
from workers.ingress.paging import PageCursor, read_cursor, write_cursor
from workers.repair.samples import mask_values
from workers.repair.webhooks import replay_events

router = APIRouter(prefix="/console/data/webhooks", include_in_schema=False)

PAGE = 50
MAX_TYPES = 100


class WebhookFilter(BaseModel):
    """What an operator looks for. All given conditions hold."""

    model_config = ConfigDict(extra="forbid")

    id: UUID | None = None
    organization_id: UUID | None = None
    account: str | None = None
    event_type: str | None = None
    became: str | None = None
    since: datetime | None = None

    def to_query(self) -> LogQuery:
        given = self.model_dump(exclude={"id"}, exclude_none=True)
        return LogQuery(ids=[self.id] if self.id else None, **given)


class ReplayWebhooks(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ids: list[UUID] = Field(min_length=1, max_length=PAGE)


@router.get("")
def list_webhooks(
    operator: OperatorDep,
    state: StateDep,
    wanted: Annotated[WebhookFilter, Depends()],
    cursor: PageCursor = None,
) -> dict[str, Any]:
    """Return a page of webhooks, the newest first, with the form of what they said."""
    del operator
    place = read_cursor("webhooks", cursor)
    after = (place[0], place[1]) if place else None
    found = state.database.webhook_log.find(wanted.to_query(), PAGE, after)
    last = found[-1] if len(found) == PAGE else None
    following = write_cursor("webhooks", [last.at.isoformat(), str(last.id)]) if last else None
    names = state.database.repair.name_organizations(
        each.organization_id for each in found if each.organization_id
    )
    return {"items": [_describe(each, names) for each in found], "next": following}


@router.get("/unrecognized")
def list_unrecognized(operator: OperatorDep, state: StateDep) -> dict[str, Any]:
    """Return what was not understood by type, the most frequent first."""
    del operator
    found = state.database.webhook_log.list_unrecognized(LogQuery(), MAX_TYPES)
    return {
        "items": [
            each.model_dump(mode="json", exclude={"payload"})
            | {"sample": mask_values(each.payload)}
            for each in found
        ]
    }


@router.post("/replay")
def replay_webhooks(
    operator: OperatorDep, state: StateDep, given: ReplayWebhooks, response: Response
) -> dict[str, Any]:
    """Apply webhooks again; what has its effect already is not changed."""
    del operator
    found = state.database.webhook_log.find(LogQuery(ids=given.ids), PAGE)
    named = " ".join(str(event.id) for event in found)
    response.headers["Location"] = f"/console/data/webhooks {named}"
    return asdict(replay_events(sorted(found, key=_order), state.database.outcomes.apply))


def _order(event: LoggedEvent) -> tuple[datetime, UUID]:
    return event.at, event.id


def _describe(event: LoggedEvent, names: dict[UUID, str]) -> dict[str, Any]:
    return {
        **event.model_dump(mode="json", exclude={"payload"}),
        "organization": names.get(event.organization_id) if event.organization_id else None,
        "sample": mask_values(event.payload),
    }

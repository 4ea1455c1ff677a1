"""The page Keys: the keys of services, made, shown once, and revoked."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.database.models import StoredServiceKey
from shared.errors import NotFoundError
from shared.service_keys import ACTIONS
from workers.ingress.console.access import OperatorDep
from workers.ingress.deps import StateDep
from workers.repair import keys

router = APIRouter(prefix="/console/data/keys", include_in_schema=False)


class NewKey(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    organization_ids: list[UUID] = Field(min_length=1, max_length=1000)
    actions: list[str] = Field(default=[], max_length=len(ACTIONS))

    @field_validator("actions")
    @classmethod
    def _require_known(cls, actions: list[str]) -> list[str]:
        if unknown := sorted(set(actions) - set(ACTIONS)):
            msg = f"unknown action {unknown[0]}: there are {', '.join(ACTIONS)}"
            raise ValueError(msg)
        return actions


@router.get("")
def list_keys(operator: OperatorDep, state: StateDep) -> dict[str, Any]:
    """Return the keys without their hashes, the newest first, and what keys may do.

    The key of an operator has no organizations and no actions: it opens this console.
    """
    del operator
    found = keys.list_keys(state.database)
    services = [key for key in found if isinstance(key, StoredServiceKey)]
    ids = {each for key in services for each in key.organization_ids}
    names = state.database.repair.name_organizations(sorted(ids))
    return {"items": [_describe(key, names) for key in found], "actions": ACTIONS}


@router.post("", status_code=201)
def create_key(
    given: NewKey, operator: OperatorDep, state: StateDep, response: Response
) -> dict[str, Any]:
    """Make a key; this answer alone has it.

    Raises:
        NotFoundError: an organization does not exist.
    """
    del operator
    known = state.database.repair.find_organizations(given.organization_ids)
    if missing := set(given.organization_ids) - known:
        msg = f"there is no organization {', '.join(sorted(map(str, missing)))}"
        raise NotFoundError(msg)
    key_id, key = keys.create_key(given.name, given.organization_ids, given.actions, state.database)
    response.headers["Location"] = f"/console/data/keys/{key_id}"
    response.headers["Cache-Control"] = "no-store"
    return {"id": key_id, "key": key}


@router.post("/{key_id}/revoke")
def revoke_key(key_id: UUID, operator: OperatorDep, state: StateDep) -> dict[str, Any]:
    """Revoke a key from now on; raises NotFoundError where the key is not in use."""
    del operator
    key = keys.revoke_key(key_id, state.sync_redis, state.database)
    return {"done": True, "text": f"The key of {key.name} is revoked."}


def _describe(key: keys.StoredKey, names: dict[UUID, str]) -> dict[str, Any]:
    shown = key.model_dump(mode="json", exclude={"hash", "organization_ids"})
    if isinstance(key, StoredServiceKey):
        organizations = [names.get(each, str(each)) for each in key.organization_ids]
        return shown | {"organizations": organizations}
    return shown | {"organizations": [], "actions": []}

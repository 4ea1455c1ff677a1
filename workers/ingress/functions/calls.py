"""A call of a function: who calls, for which organization, with which fields."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import compare_digest
from typing import Any
from uuid import UUID

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

from shared.database.connection import storable
from workers.ingress.access import admit, read_bearer_token
from workers.ingress.deps import AppState
from workers.ingress.functions.answers import FunctionError

SESSION_PREFIX = "wpp_"
"""The beginning of a session's name; the account follows."""
TRUE_WORDS = {"true", "1", "yes"}


@dataclass(frozen=True)
class FunctionCaller:
    """Who calls. The CRM's servers (`service_role`) act for the organization that they name."""

    organization_id: UUID | None
    subject: str

    @property
    def is_server(self) -> bool:
        return self.organization_id is None


@dataclass(frozen=True)
class FunctionCall:
    """A call by an authenticated caller. `fields` are those of the query and of the body."""

    name: str
    method: str
    query: Mapping[str, str]
    headers: Headers
    body: bytes
    fields: Mapping[str, Any]
    organization_id: UUID
    state: AppState

    def text(self, *names: str) -> str | None:
        """Return the first of these fields that is not empty, as a text without outer spaces."""
        return read_text(self.fields, *names)

    def flag(self, name: str) -> bool:
        value = self.fields.get(name)
        return value is True or (isinstance(value, str) and value.lower() in TRUE_WORDS)

    def uuid(self, *names: str) -> UUID | None:
        """Return the first of these fields that is not empty as an id, None if it cannot be one."""
        return read_uuid(self.text(*names))


async def authenticate_caller(scope: Scope, action: str, state: AppState) -> FunctionCaller:
    """Return who calls; raises what `workers.ingress.access.admit` and `Caller.require` raise."""
    key = state.service_role_key.get_secret_value().encode()
    if compare_digest(read_bearer_token(scope).encode(), key):
        return FunctionCaller(None, "service role")
    caller = await admit(scope, state, MutableHeaders())
    caller.require(action)
    return FunctionCaller(caller.organization_id, caller.subject)


def parse_fields(query: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Return the fields of a call, as Supabase can hold them.

    Half of a surrogate pair is refused: it could not be sent, nor be shown in an answer.

    Raises:
        FunctionError: the body is not a JSON object, or has half of a surrogate pair.
    """
    fields: dict[str, Any] = {**query, **_parse_body(body)}
    try:
        json.dumps(fields, ensure_ascii=False).encode()
        kept: dict[str, Any] = storable(fields)
    except UnicodeEncodeError:
        msg = "The body has half of a surrogate pair: a text was cut within an emoji."
        raise FunctionError(msg) from None
    except RecursionError:
        msg = "The body is nested too deeply."
        raise FunctionError(msg) from None
    return kept


def _parse_body(body: bytes) -> dict[str, Any]:
    """Return the fields of a body; the CRM also sends JSON calls without one."""
    if not body.strip():
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        msg = "The body is not JSON."
        raise FunctionError(msg) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        msg = "The body is not a JSON object."
        raise FunctionError(msg)
    return found


def read_text(fields: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def read_uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None

"""Who may call: a service with its organization's key, or a person with a Supabase session."""

import time
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from shared import access
from shared.errors import AccessError
from workers.ingress.state import Doorway, doorway

TRUSTED_S = 60.0
"""How long a session that Supabase has confirmed is taken without asking again."""


async def organization(request: Request, here: Annotated[Doorway, Depends(doorway)]) -> UUID:
    """Return the organization that the caller acts for, told by the bearer alone.

    Raises:
        AccessError: no bearer, or neither a service key of ours nor a living session of a member.
    """
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not bearer.strip():
        msg = "say who calls: Authorization: Bearer <service key or Supabase access token>"
        raise AccessError(msg)
    bearer = bearer.strip()
    found = access.organization_of_key(bearer, here.keys.secrets) or await _of_session(bearer, here)
    if found is None:
        msg = "this bearer is neither a service key of this server nor a living session of a member of an organization"
        raise AccessError(msg)
    return found


async def _of_session(token: str, here: Doorway) -> UUID | None:
    if token.count(".") != 2:
        return None  # not a JWT: no need to ask
    until, known = here.sessions.get(token, (0.0, None))
    if time.monotonic() < until:
        return known
    found = await run_in_threadpool(here.database.organization_of_user, token)
    if len(here.sessions) > 10_000:
        here.sessions.clear()
    if found:
        here.sessions[token] = (time.monotonic() + TRUSTED_S, found)
    return found


Organization = Annotated[UUID, Depends(organization)]
"""A route that takes this is closed to strangers."""

"""Who may call: a service with its organization's key, or a person with a Supabase session."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from shared import signed_keys
from shared.errors import AccessError
from workers.ingress.deps import Doorway, doorway


async def organization(request: Request, here: Annotated[Doorway, Depends(doorway)]) -> UUID:
    """Return the organization that the caller acts for, told by the bearer alone.

    Raises:
        AccessError: no bearer, or neither a service key of ours nor a living session of a member.
        OverloadedError: Supabase is asked about too many sessions already.
    """
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not bearer.strip():
        msg = "say who calls: Authorization: Bearer <service key or Supabase access token>"
        raise AccessError(msg)
    bearer = bearer.strip()
    found = signed_keys.read_service_key(
        bearer, here.keys.secrets
    ) or await here.sessions.organization(bearer)
    if found is None:
        msg = "this bearer is neither a service key of this server nor a living session of a member of an organization"
        raise AccessError(msg)
    return found


Organization = Annotated[UUID, Depends(organization)]
"""A route that takes this is closed to strangers."""

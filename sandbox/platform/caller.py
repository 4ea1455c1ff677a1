"""Who calls, and what they say: the parts of a request that several routes read."""

from typing import Any

from starlette.requests import Request

from sandbox.platform.accounts import Account
from sandbox.platform.errors import ApiError, invalid_token
from sandbox.platform.world import World


def world_of(request: Request) -> World:
    world: World = request.app.state.world
    return world


async def read_json(request: Request) -> dict[str, Any]:
    """Return the body; an empty one is an empty object, as Express has it."""
    try:
        body = await request.json() if await request.body() else {}
    except ValueError:
        raise ApiError(400, "Unexpected token in JSON") from None
    if not isinstance(body, dict):
        raise ApiError(400, "Body must be an object")
    return body


def text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise ApiError(400, f"{name} is required")
    return value


def bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def account(request: Request, named: object = None) -> Account:
    """Return the account of the request's JWT.

    Raises:
        ApiError: 401 for a token that is expired, revoked or not ours; 403 when `named` is another account.
    """
    world = world_of(request)
    session, fingerprint = world.tokens.read(bearer(request)) or ("", "")
    found = world.accounts.by_session.get(session)
    if found is None or session in world.faults.plan.revoked_keys:
        raise invalid_token()
    if not world.tokens.belongs(fingerprint, found.api_key):
        raise invalid_token()
    if named is not None and named != session:
        raise ApiError(403, "Token does not belong to this account")
    return found

"""The parts of a request that several routes read: state, JSON body, bearer token, account."""

from typing import Any

from starlette.requests import Request

from sandbox.platform.accounts import Account
from sandbox.platform.errors import ApiError, make_invalid_token_error
from sandbox.platform.state import PlatformState


def get_state(request: Request) -> PlatformState:
    state: PlatformState = request.app.state.platform
    return state


async def read_json(request: Request) -> dict[str, Any]:
    """Return the body; an empty body is an empty object, as in Express."""
    try:
        body = await request.json() if await request.body() else {}
    except ValueError:
        raise ApiError(400, "Unexpected token in JSON") from None
    if not isinstance(body, dict):
        raise ApiError(400, "Body must be an object")
    return body


def require_text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise ApiError(400, f"{name} is required")
    return value


def read_bearer_token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def authenticate(request: Request, named: object = None) -> Account:
    """Return the account of the request's JWT.

    Raises:
        ApiError: 401 for an expired, revoked or foreign token; 403 if `named` is another account.
    """
    state = get_state(request)
    session, fingerprint = state.tokens.read(read_bearer_token(request)) or ("", "")
    found = state.accounts.by_session.get(session)
    if found is None or session in state.faults.plan.revoked_keys:
        raise make_invalid_token_error()
    if not state.tokens.is_key_of(fingerprint, found.api_key):
        raise make_invalid_token_error()
    if named is not None and named != session:
        raise ApiError(403, "Token does not belong to this account")
    return found

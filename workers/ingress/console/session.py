"""Sign in to the console, see who is signed in, sign out."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, SecretStr, model_validator

from shared.errors import AccessError
from shared.redis import keys
from workers.ingress.audit import Effect
from workers.ingress.console.access import SIGN_IN, SessionDep
from workers.ingress.console.operators import Operator
from workers.ingress.console.sessions import COOKIE, LIFETIME_S, ConsoleSession
from workers.ingress.deps import AppState, StateDep
from workers.ingress.request_limits import find_client

REFUSED = "This is neither an operator key that is in use nor a user with the role of an operator."

router = APIRouter(include_in_schema=False)
log = structlog.get_logger()


class Credentials(BaseModel):
    """An operator key, or the access token of a session of Supabase."""

    key: SecretStr | None = None
    token: SecretStr | None = None

    @model_validator(mode="after")
    def _check(self) -> "Credentials":
        if (self.key is None) == (self.token is None):
            msg = "give an operator key or a token"
            raise ValueError(msg)
        return self


@router.post(SIGN_IN, status_code=HTTPStatus.NO_CONTENT)
async def sign_in(body: Credentials, request: Request, response: Response, state: StateDep) -> None:
    """Begin a session, as a cookie. Refused attempts count against the quota of their address.

    So do attempts at the same time: each holds its place in the quota until it is decided.
    """
    address = find_client(request.scope)
    with state.request_limits.hold("failure", address):
        operator = await _find_operator(body, state)
    if operator is None:
        state.request_limits.take("failure", address)
        log.warning("console.refused", address=address)
        raise AccessError(REFUSED)
    session = ConsoleSession.begin(operator)
    response.set_cookie(
        COOKIE,
        session.write(state.keys.secrets),
        max_age=LIFETIME_S,
        path=None,  # the folder of this path, also behind the path of a proxy
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    effect = Effect(operator.subject, None, "sign_in")
    effect.record(request.scope, HTTPStatus.NO_CONTENT, request.headers)


async def _find_operator(body: Credentials, state: AppState) -> Operator | None:
    if body.key:
        return await state.operators.find_by_key(body.key.get_secret_value().strip())
    token = body.token.get_secret_value() if body.token else ""
    return await state.operators.find_by_token(token)


@router.get(SIGN_IN)
async def get_session(session: SessionDep, state: StateDep) -> dict[str, Any]:
    """Return who is signed in until when, and the token that each change has to name."""
    return {
        "name": session.operator.name,
        "expires_s": session.expires_s,
        "csrf_token": session.make_csrf_token(state.keys.secrets),
    }


@router.post("/console/sign-out", status_code=HTTPStatus.NO_CONTENT)
async def sign_out(session: SessionDep, response: Response, state: StateDep) -> None:
    """End the session, in every process: its cookie is worth nothing any more."""
    await state.redis.set(keys.ended_session(session.id), 1, ex=LIFETIME_S)
    response.set_cookie(COOKIE, max_age=0, path=None, httponly=True, samesite="strict")

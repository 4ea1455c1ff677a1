"""ASGI middleware: what a request to the console has to pass before its route sees it.

Only the page on which operators sign in, and the files of both pages, are open to all. A change
comes from the console's own page: its `Origin` is this server, and it names the session's token.
Bodies are read afterwards, within the limits of the API.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import AccessError
from shared.redis import keys
from workers.ingress.access import read_body
from workers.ingress.audit import SAFE_METHODS, Effect, with_audit
from workers.ingress.body import DisconnectedError
from workers.ingress.callers import ForbiddenError
from workers.ingress.console.operators import Operator
from workers.ingress.console.page import FILES
from workers.ingress.console.sessions import COOKIE, ConsoleSession
from workers.ingress.deps import AppState
from workers.ingress.errors import to_response

PAGE = "/console"
SIGN_IN_PAGE = "/console/sign-in"
SIGN_IN = "/console/session"
DATA = "/console/data/"
OPEN = {SIGN_IN_PAGE, *(f"/console/{name}" for name in FILES)}
SESSION = "wpp.console_session"
"""The key of an ASGI scope under which the session of an operator stands."""
CSRF_HEADER = "X-CSRF-Token"


@dataclass(frozen=True)
class Admission:
    """What a request may go on with: its session, None for signing in, and its body."""

    session: ConsoleSession | None
    receive: Receive


class ConsoleAccess:
    """The middleware. It leaves the `ConsoleSession` in the scope, under `SESSION`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if not (path == PAGE or path.startswith(f"{PAGE}/")) or path in OPEN:
            await self._app(scope, receive, send)
            return
        try:
            admitted = await _admit(scope, receive, scope["app"].state.ingress)
        except DisconnectedError:
            return
        except AccessError as error:
            is_page = path == PAGE and scope["method"] in SAFE_METHODS
            leave = RedirectResponse("console/sign-in", HTTPStatus.SEE_OTHER)
            await (leave if is_page else to_response(error))(scope, receive, send)
            return
        except Exception as error:  # noqa: BLE001 - every error becomes a problem response
            await to_response(error)(scope, receive, send)
            return
        if session := admitted.session:
            operation = path.removeprefix(DATA)
            send = with_audit(send, scope, Effect(session.operator.subject, None, operation))
        await self._app({**scope, SESSION: admitted.session}, admitted.receive, send)


async def _admit(scope: Scope, receive: Receive, state: AppState) -> Admission:
    """Let a request in.

    Raises:
        AccessError: no operator is signed in.
        ForbiddenError: the change does not come from the console's page.
        BodyTooLargeError, BodyTimeoutError, DisconnectedError: as `read_body`.
    """
    is_change = scope["method"] not in SAFE_METHODS
    if is_change:
        _require_own_page(scope)
    is_signing_in = is_change and scope["path"] == SIGN_IN
    session = None if is_signing_in else await find_session(scope, state)
    if session and is_change:
        token = Headers(scope=scope).get(CSRF_HEADER, "")
        if not session.accepts(token, state.keys.secrets):
            msg = f"a change has to name the session's token in {CSRF_HEADER}: load the page again"
            raise ForbiddenError(msg)
    return Admission(session, await _read_whole(scope, receive, state))


def _require_own_page(scope: Scope) -> None:
    """Raise ForbiddenError unless a request was made by a page of this server."""
    headers = Headers(scope=scope)
    origin = urlsplit(headers.get("origin", "")).netloc
    if not origin or origin != headers.get("host"):
        msg = "a change has to come from the console's own page (Origin)"
        raise ForbiddenError(msg)


async def find_session(scope: Scope, state: AppState) -> ConsoleSession:
    """Return the valid session of a request; raises AccessError without it."""
    cookie = cookie_parser(Headers(scope=scope).get("cookie", "")).get(COOKIE, "")
    session = ConsoleSession.read(cookie, state.keys.secrets)
    if (
        session
        and not await state.redis.exists(keys.ended_session(session.id))
        and await state.operators.is_valid(session.operator.credential)
    ):
        return session
    msg = "nobody is signed in to the console here: sign in"
    raise AccessError(msg)


async def _read_whole(scope: Scope, receive: Receive, state: AppState) -> Receive:
    waiting: list[Message] = [
        {
            "type": "http.request",
            "body": await read_body(scope, receive, state),
            "more_body": False,
        }
    ]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


async def get_session(request: Request) -> ConsoleSession:
    """Return the session, which `ConsoleAccess` has found; raises AccessError without it."""
    session = request.scope.get(SESSION)
    if not isinstance(session, ConsoleSession):
        msg = "no operator is signed in"
        raise AccessError(msg)
    return session


async def get_operator(session: Annotated[ConsoleSession, Depends(get_session)]) -> Operator:
    return session.operator


SessionDep = Annotated[ConsoleSession, Depends(get_session)]
OperatorDep = Annotated[Operator, Depends(get_operator)]
"""A route with this parameter requires a signed-in operator."""

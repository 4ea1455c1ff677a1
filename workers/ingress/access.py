"""ASGI middleware of /v1: what a request has to pass before FastAPI sees it.

FastAPI parses a body before it runs the dependencies of a route. So credentials are checked here,
and only then is the body read, within limits of size and time. A path or a method that does not
exist goes to the router at once, which answers without reading a body.
"""

import re
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import signed_keys
from shared.errors import AccessError
from workers.ingress.body import BodyReader, DisconnectedError
from workers.ingress.deps import (
    CALLER,
    INVALID_CREDENTIALS,
    MISSING_CREDENTIALS,
    AppState,
    Caller,
)
from workers.ingress.errors import to_response

PREFIX = "/v1/"


class ApiAccess:
    """The middleware. It leaves the `Caller` in the scope, under `CALLER`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._routes: ApiRoutes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        respond = _without_caching(send)
        if not self._find_routes(scope).has(scope["method"], scope["path"]):
            await self._app(scope, receive, respond)
            return
        state: AppState = scope["app"].state.ingress
        try:
            scope[CALLER] = await authenticate(scope, state)
            receive = await _read_body(scope, receive, state)
        except DisconnectedError:
            return
        except Exception as error:  # noqa: BLE001 - every error becomes a problem response
            await to_response(error)(scope, receive, respond)
            return
        await self._app(scope, receive, respond)

    def _find_routes(self, scope: Scope) -> "ApiRoutes":
        if self._routes is None:
            self._routes = ApiRoutes(scope["app"].openapi()["paths"])
        return self._routes


class ApiRoutes:
    """Which methods the paths of the API have, by its OpenAPI document."""

    def __init__(self, paths: Mapping[str, Mapping[str, object]]) -> None:
        groups = [re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) for path in paths]
        # Static paths first: `/events` before `/{id}`.
        order = sorted(range(len(groups)), key=lambda index: "[^/]+" in groups[index])
        self._pattern = re.compile("|".join(f"({groups[index]})" for index in order))
        listed = [set(map(str.upper, methods)) for methods in paths.values()]
        self._methods = [listed[index] for index in order]

    def has(self, method: str, path: str) -> bool:
        found = self._pattern.fullmatch(path)
        return bool(found and found.lastindex and method in self._methods[found.lastindex - 1])


async def authenticate(scope: Scope, state: AppState) -> Caller:
    """Return the caller that the bearer token of a request stands for.

    Raises:
        AccessError: missing or invalid credentials.
        OverloadedError: too many sessions are being verified.
        DatabaseUnavailableError: Supabase did not answer.
    """
    scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise AccessError(MISSING_CREDENTIALS)
    if organization_id := signed_keys.read_service_key(token, state.keys.secrets):
        return Caller(organization_id)
    if organization_id := await state.sessions.find_organization(token):
        return Caller(organization_id, session=token)
    raise AccessError(INVALID_CREDENTIALS)


async def _read_body(scope: Scope, receive: Receive, state: AppState) -> Receive:
    """Return a `receive` that begins with the whole body.

    Raises:
        BodyTooLargeError: the body exceeds `WPP_API_BODY_LIMIT`.
        BodyTimeoutError: the sender is too slow.
        DisconnectedError: the sender closed the connection.
    """
    headers = Headers(scope=scope)
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return receive
    reader = BodyReader(scope, receive, state.limits, state.limits.wpp_api_body_limit)
    waiting: list[Message] = [
        {"type": "http.request", "body": await reader.read_all(), "more_body": False}
    ]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


def _without_caching(send: Send) -> Send:
    """Return a `send` that forbids caches to store the response: it may hold a QR code."""

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            given = headers.get("Cache-Control", "")
            if "no-store" not in given:
                headers["Cache-Control"] = f"{given}, no-store" if given else "no-store"
        await send(message)

    return send_marked

"""ASGI middleware: what a request has to pass before FastAPI sees it.

FastAPI parses a body before it runs the dependencies of a route. So credentials are checked here,
and only then is the body read, within limits of size and time. A path of the API that is not in the
OpenAPI document, and a method that a path does not have, are answered here: the router never sees
them, since it may find a route where this module finds none. Each request counts against
one quota: that of its key or user, or, without valid credentials, that of its address.
"""

from http import HTTPStatus
from typing import NamedTuple

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import AccessError
from workers.ingress.api_routes import ApiRoutes, MethodNotAllowedError, Operation
from workers.ingress.audit import Effect, with_audit
from workers.ingress.body import BodyReader, DisconnectedError
from workers.ingress.callers import (
    ORGANIZATION_HEADER,
    Caller,
    ForbiddenError,
    OrganizationMissingError,
)
from workers.ingress.deps import (
    CALLER,
    INVALID_CREDENTIALS,
    MISSING_CREDENTIALS,
    AppState,
)
from workers.ingress.errors import to_response
from workers.ingress.request_limits import TooManyRequestsError, find_client

PREFIX = "/v1/"
ORGANIZATION_FIELD = ORGANIZATION_HEADER.lower().encode()
BATCH = "send_messages"
"""The operation whose body may be larger than that of the rest."""
ADMITTED = "wpp.admitted"
"""The key of an ASGI scope under which an `Admitted` stands, of a request that passed before."""
PROBES = ("/health", "/ready")
"""Paths that a load balancer asks for: they have no quota."""


class Admitted(NamedTuple):
    """Who makes a request that its quota allows, and headers that say what is left of it."""

    caller: Caller
    limits: MutableHeaders


class ApiAccess:
    """The middleware. It leaves the `Caller` in the scope, under `CALLER`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._routes: ApiRoutes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        state: AppState = scope["app"].state.ingress
        is_api = scope["path"].startswith(PREFIX)
        headers = MutableHeaders()
        respond = _with_headers(send, headers, cached=not is_api)
        try:
            operation = self._find_operation(scope) if is_api else None
            if operation:
                caller = await _admit_once(scope, state, headers)
                caller.require(operation.action)
                receive = await _read_request(scope, receive, operation, state)
                effect = Effect(caller.subject, caller.organization_id, operation.id)
                respond = with_audit(respond, scope, effect)
                method = "GET" if scope["method"] == "HEAD" else scope["method"]
                scope = {**scope, CALLER: caller, "method": method}
            else:
                _require_no_api_path(scope, state)
        except DisconnectedError:
            return
        except MethodNotAllowedError as error:
            await _refuse_method(error, scope, state)(scope, receive, respond)
            return
        except Exception as error:  # noqa: BLE001 - every error becomes a problem response
            await to_response(error)(scope, receive, respond)
            return
        await self._app(scope, receive, respond)

    def _find_operation(self, scope: Scope) -> Operation | None:
        if self._routes is None:
            self._routes = ApiRoutes(scope["app"].openapi()["paths"])
        return self._routes.find(scope["method"], scope["path"])


def _require_no_api_path(scope: Scope, state: AppState) -> None:
    """Take the quota of an address; refuse a path of the API that is no operation.

    The router's patterns end in `$`, which matches before a final line feed as well: it would find
    routes that checks by path, here and of the console, miss.

    Raises:
        TooManyRequestsError: the quota is used up.
        HTTPException: the path is one of the API, which the document does not have, or ends in a
            line feed.
    """
    state.request_limits.take("address", find_client(scope))
    path: str = scope["path"]
    if path.startswith(PREFIX) or path.endswith("\n"):
        raise HTTPException(HTTPStatus.NOT_FOUND)


def _refuse_method(error: MethodNotAllowedError, scope: Scope, state: AppState) -> Response:
    """Return the answer to a method that a path does not have, with those that it has."""
    try:
        state.request_limits.take("address", find_client(scope))
    except TooManyRequestsError as limited:
        return to_response(limited)
    if scope["method"] == "OPTIONS":
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Allow": error.allow})
    return to_response(error)


async def _admit_once(scope: Scope, state: AppState, headers: MutableHeaders) -> Caller:
    admitted: Admitted | None = scope.get(ADMITTED)
    if admitted is None:
        return await admit(scope, state, headers)
    headers.update(admitted.limits)
    return admitted.caller


async def admit(scope: Scope, state: AppState, headers: MutableHeaders) -> Caller:
    """Return the caller of a request that its quota allows; add what is left to `headers`.

    Raises:
        TooManyRequestsError: the quota of the caller, or of an address that failed too often.
        AccessError, ForbiddenError, OrganizationMissingError, OverloadedError,
            DatabaseUnavailableError: as `authenticate`.
    """
    try:
        caller = await authenticate(scope, state)
    except (AccessError, ForbiddenError, OrganizationMissingError):
        left = state.request_limits.take("failure", find_client(scope))
        headers.update(left.headers if left else {})
        raise
    left = state.request_limits.take("key", caller.subject)
    headers.update(left.headers if left else {})
    return caller


async def authenticate(scope: Scope, state: AppState) -> Caller:
    """Return the caller that the bearer token of a request stands for.

    Raises:
        AccessError: missing or invalid credentials.
        ForbiddenError: they are not valid for the organization that the request names.
        OrganizationMissingError: they are valid for several, and the request names none.
        TooManyRequestsError: Supabase would have to verify a session for an address that failed
            too often.
        OverloadedError: too many sessions are being verified.
        DatabaseUnavailableError: Supabase did not answer.
    """
    token = read_bearer_token(scope)
    if not token:
        raise AccessError(MISSING_CREDENTIALS)
    organization = _read_header(scope, ORGANIZATION_FIELD)
    if known := state.callers.find_known(token, organization):
        return known
    if not await state.callers.is_genuine(token):
        state.request_limits.check("failure", find_client(scope))
    caller = await state.callers.find(token, organization)
    if caller is None:
        raise AccessError(INVALID_CREDENTIALS)
    return caller


def read_bearer_token(scope: Scope) -> str:
    """Return the bearer token of a request, or "" without one."""
    scheme, _, token = _read_header(scope, b"authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _read_header(scope: Scope, name: bytes) -> str:
    """Return the first header of a name, or ""; `Headers` takes ten times as long."""
    for each, value in scope["headers"]:
        if each == name:
            return str(value, "latin-1")
    return ""


async def read_body(scope: Scope, receive: Receive, state: AppState) -> bytes:
    """Return the whole body, which may be empty.

    Raises:
        BodyTooLargeError: the body exceeds `WPP_API_BODY_LIMIT`.
        BodyTimeoutError: the sender is too slow.
        DisconnectedError: the sender closed the connection.
    """
    if not _has_body(scope):
        return b""
    reader = BodyReader(scope, receive, state.limits, state.limits.wpp_api_body_limit)
    return await reader.read_all()


async def _read_batch(scope: Scope, receive: Receive, state: AppState) -> bytes:
    """Return the body of a batch of messages: at most `WPP_BATCH_BODY_LIMIT`, few at a time."""
    reader = BodyReader(scope, receive, state.limits, state.limits.wpp_batch_body_limit)
    async with reader.read_rest(b"", state.large_bodies, more=True) as body:
        return bytes(body)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def _read_request(
    scope: Scope, receive: Receive, operation: Operation, state: AppState
) -> Receive:
    """Return a `receive` that begins with the whole body.

    Raises:
        RequestValidationError: unknown query parameters.
        UnsupportedMediaTypeError: the body is not declared as JSON.
        BodyTooLargeError, BodyTimeoutError, DisconnectedError: as `read_body`.
    """
    operation.check_query(scope["query_string"])
    if not _has_body(scope) or operation.takes_file:
        return receive
    operation.check_media_type(Headers(scope=scope).get("content-type", ""))
    read = _read_batch if operation.id == BATCH else read_body
    return receive_again(await read(scope, receive, state), receive)


def receive_again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that begins with a body that was read."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_next() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_next


def _with_headers(send: Send, added: MutableHeaders, *, cached: bool) -> Send:
    """Return a `send` that adds headers to the response.

    Unless `cached`, caches may not store the response: it may hold a QR code.
    """

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(added)
            given = headers.get("Cache-Control", "")
            if not cached and "no-store" not in given:
                headers["Cache-Control"] = f"{given}, no-store" if given else "no-store"
        await send(message)

    return send_marked

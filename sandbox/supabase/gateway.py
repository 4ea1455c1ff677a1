"""The address of a whole project: /rest/v1, /auth/v1 and /storage/v1 behind its API keys.

`python -m sandbox.supabase.gateway PORT POSTGREST_PORT [INGRESS_PORT]` reads `GatewaySettings` from
the environment. /functions/v1 is forwarded to the ingress, with its API key and without one.
"""

import os
import sys
from dataclasses import dataclass, field, fields
from typing import Self

import uvicorn
from starlette.datastructures import Headers, QueryParams
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.ports import LOCALHOST
from sandbox.supabase import auth, storage
from sandbox.supabase.tokens import is_same
from sandbox.supabase.upstream import RawHeaders, Upstream

REST = "/rest/v1"
FUNCTIONS = "/functions/v1"
PUBLIC_PATHS = (
    "/health",
    "/storage/v1/object/public/",
    "/storage/v1/object/sign/",
    "/auth/v1/health",
)
NOT_FORWARDED = {b"apikey", b"host", b"origin"}  # the gateway answers CORS itself
NO_KEY = {
    "message": "No API key found in request",
    "hint": "No `apikey` request header or url param was found.",
}
WRONG_KEY = {
    "message": "Invalid API key",
    "hint": "Double check your Supabase `anon` or `service_role` API key.",
}

UNAVAILABLE = {"code": "PGRST000", "message": "PostgREST does not answer", "details": None}
NO_FUNCTIONS = {"message": "The function's server does not answer"}


@dataclass(frozen=True)
class GatewaySettings:
    """Settings of the gateway, a plain class: to import pydantic takes a fifth of its start."""

    database_url: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    storage_secret: str = field(repr=False)
    anon_key: str = field(repr=False)
    service_role_key: str = field(repr=False)

    @classmethod
    def from_environment(cls) -> Self:
        """Read GATEWAY_DATABASE_URL, GATEWAY_JWT_SECRET and so on."""
        return cls(
            **{each.name: os.environ[f"GATEWAY_{each.name.upper()}"] for each in fields(cls)}
        )


class KeyCheck:
    """Let requests with an API key of the project through, as the hosted gateway does."""

    def __init__(self, app: ASGIApp, keys: tuple[str, str]) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._check_key(scope) if scope["type"] == "http" else None
        await (error or self._app)(scope, receive, send)

    def _check_key(self, scope: Scope) -> Response | None:
        if scope["method"] in {"GET", "HEAD"} and scope["path"].startswith(PUBLIC_PATHS):
            return None
        if scope["path"].startswith(f"{FUNCTIONS}/"):
            return None  # each function checks its own caller, as on a self-hosted project
        in_query = QueryParams(scope["query_string"])
        given = Headers(scope=scope).get("apikey") or in_query.get("apikey")
        if not given:
            return JSONResponse(NO_KEY, 401)
        # compares with every key: the time taken must not depend on the match
        matches = [is_same(given, key) for key in self._keys]
        return None if any(matches) else JSONResponse(WRONG_KEY, 401)


class Rest:
    """Forwards to PostgREST with unchanged query string, headers and body."""

    def __init__(self, port: int) -> None:
        self._upstream = Upstream(LOCALHOST, port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].removeprefix(REST.encode()) or b"/"
        target = path + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        try:
            body = await _read_body(receive)
            headers = _select_headers(scope["headers"])
            answer = await self._upstream.request(scope["method"], target, headers, body)
        except OSError:
            await JSONResponse(UNAVAILABLE, 503)(scope, receive, send)
            return
        await send(
            {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        )
        await send({"type": "http.response.body", "body": bytes(answer.body)})


class Functions:
    """Forwards to the ingress, which answers the CRM's edge functions."""

    def __init__(self, port: int) -> None:
        self._upstream = Upstream(LOCALHOST, port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        headers = [each for each in scope["headers"] if each[0] not in {b"host", b"origin"}]
        try:
            body = await _read_body(receive)
            answer = await self._upstream.request(
                scope["method"], target, [*headers, (b"host", b"functions")], body
            )
        except (OSError, TimeoutError):
            await JSONResponse(NO_FUNCTIONS, 503)(scope, receive, send)
            return
        await send(
            {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        )
        await send({"type": "http.response.body", "body": bytes(answer.body)})


def _select_headers(headers: RawHeaders) -> RawHeaders:
    """Return the headers for PostgREST; without a token, the API key is the token."""
    forwarded = [(name, value) for name, value in headers if name not in NOT_FORWARDED]
    if not any(name == b"authorization" for name, _ in forwarded):
        forwarded += [
            (b"authorization", b"Bearer " + value) for name, value in headers if name == b"apikey"
        ]
    return [*forwarded, (b"host", b"postgrest")]


async def _read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def build(
    settings: GatewaySettings, postgrest_port: int, ingress_port: int | None = None
) -> ASGIApp:
    """Return the gateway as an ASGI app: CORS, then the API key, then the service."""
    auth_app = auth.build(settings.database_url, settings.jwt_secret)
    storage_app = storage.build(settings.database_url, settings.jwt_secret, settings.storage_secret)
    routes = [
        Mount(REST, app=Rest(postgrest_port)),
        Mount("/auth/v1", app=auth_app),
        Mount("/storage/v1", app=storage_app),
        Route("/health", lambda _: Response("ok")),
    ]
    if ingress_port:
        routes.append(Mount(FUNCTIONS, app=Functions(ingress_port)))
    guarded = KeyCheck(Router(routes), (settings.anon_key, settings.service_role_key))
    return CORSMiddleware(
        guarded,
        allow_origins=["*"],
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["content-range"],
    )


def main() -> None:
    port, postgrest_port, *ingress_port = map(int, sys.argv[1:4])
    app = build(GatewaySettings.from_environment(), postgrest_port, *ingress_port)
    uvicorn.run(
        app,
        host=LOCALHOST,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        server_header=False,
        date_header=False,
    )


if __name__ == "__main__":
    main()

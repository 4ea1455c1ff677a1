"""One address for a whole project: /rest/v1, /auth/v1 and /storage/v1, behind the project's API keys.

`python -m sandbox.supabase.gateway PORT POSTGREST_PORT`, its secrets in the environment (`GatewaySettings`).
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
from sandbox.supabase.tokens import same
from sandbox.supabase.upstream import RawHeaders, Upstream

REST = "/rest/v1"
OPEN = ("/health", "/storage/v1/object/public/", "/storage/v1/object/sign/", "/auth/v1/health")
UNTOUCHED = {b"apikey", b"host", b"origin"}  # PostgREST has no use for them; CORS is answered here
NO_KEY = {
    "message": "No API key found in request",
    "hint": "No `apikey` request header or url param was found.",
}
WRONG_KEY = {
    "message": "Invalid API key",
    "hint": "Double check your Supabase `anon` or `service_role` API key.",
}


@dataclass(frozen=True)
class GatewaySettings:
    """What the gateway works with. A plain class: importing pydantic would take a fifth of its start."""

    database_url: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    storage_secret: str = field(repr=False)
    anon_key: str = field(repr=False)
    service_role_key: str = field(repr=False)

    @classmethod
    def from_environment(cls) -> Self:
        """Read GATEWAY_DATABASE_URL, GATEWAY_JWT_SECRET and the others."""
        return cls(
            **{each.name: os.environ[f"GATEWAY_{each.name.upper()}"] for each in fields(cls)}
        )


class KeyCheck:
    """Let through what carries one of the project's keys, as the hosted gateway does."""

    def __init__(self, app: ASGIApp, keys: tuple[str, str]) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["type"] != "http" else self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        if scope["method"] in {"GET", "HEAD"} and scope["path"].startswith(OPEN):
            return None
        given = Headers(scope=scope).get("apikey") or QueryParams(scope["query_string"]).get(
            "apikey"
        )
        if not given:
            return JSONResponse(NO_KEY, 401)
        known = [
            same(given, key) for key in self._keys
        ]  # all of them: the time taken tells nothing
        return None if any(known) else JSONResponse(WRONG_KEY, 401)


class Rest:
    """Forward to PostgREST, query string, headers and body as they are."""

    def __init__(self, port: int) -> None:
        self._upstream = Upstream(LOCALHOST, port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].removeprefix(REST.encode()) or b"/"
        target = path + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        try:
            body = await _body(receive)
            answer = await self._upstream.request(
                scope["method"], target, _forwarded(scope["headers"]), body
            )
        except OSError:
            away = JSONResponse(
                {"code": "PGRST000", "message": "PostgREST does not answer", "details": None}, 503
            )
            await away(scope, receive, send)
            return
        await send(
            {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        )
        await send({"type": "http.response.body", "body": bytes(answer.body)})


def _forwarded(headers: RawHeaders) -> RawHeaders:
    """Return the headers for PostgREST; who sends no token acts with what the API key says."""
    kept = [(name, value) for name, value in headers if name not in UNTOUCHED]
    if not any(name == b"authorization" for name, _ in kept):
        kept += [
            (b"authorization", b"Bearer " + value) for name, value in headers if name == b"apikey"
        ]
    return [*kept, (b"host", b"postgrest")]


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def build(settings: GatewaySettings, postgrest_port: int) -> ASGIApp:
    """Return the gateway as an ASGI app: CORS, then the key, then one of the three; no more layers than that."""
    database_url, jwt_secret = settings.database_url, settings.jwt_secret
    routes = [
        Mount(REST, app=Rest(postgrest_port)),
        Mount("/auth/v1", app=auth.build(database_url, jwt_secret)),
        Mount("/storage/v1", app=storage.build(database_url, jwt_secret, settings.storage_secret)),
        Route("/health", lambda _: Response("ok")),
    ]
    guarded = KeyCheck(Router(routes), (settings.anon_key, settings.service_role_key))
    every = ["*"]
    return CORSMiddleware(
        guarded,
        allow_origins=every,
        allow_methods=every,
        allow_headers=every,
        expose_headers=["content-range"],
    )


def main() -> None:
    port, postgrest_port = int(sys.argv[1]), int(sys.argv[2])
    app = build(GatewaySettings.from_environment(), postgrest_port)
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

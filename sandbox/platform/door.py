"""The outermost layer: counts what the platform's API answers, and lets requests suffer the faults in force."""

import asyncio
import math
from collections.abc import Callable

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.platform.faults import FaultPlan
from sandbox.platform.world import World

API = ("/api/", "/auth/", "/internal/")


class Door:
    """Keeps what a request wrote before its answer leaves: a killed platform has all that it answered."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app = app
        self._faults = world.faults
        self._ledger = world.ledger
        self._keep = world.store.commit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not scope["path"].startswith(API):
            await self._app(scope, receive, _Reply(send, self._keep))
            return
        kind = None
        if self._faults.suffers(scope["path"]):
            await asyncio.sleep(self._faults.plan.latency_s)
            kind = self._faults.draw()
        result = await self._serve(kind, scope, receive, send)
        name = _name(scope)
        self._ledger.count("requests", name, result)
        if kind:
            self._ledger.count("faults", name, kind)

    async def _serve(self, kind: str | None, scope: Scope, receive: Receive, send: Send) -> str:
        """Return the status that the client saw, or how it was left without one."""
        plan = self._faults.plan
        if kind in {"429", "404", "5xx"}:
            if kind == "5xx" and plan.processed_5xx:
                await self._app(scope, receive, _Reply(_swallow, self._keep))
            answer = _failure(kind, plan)
            await answer(scope, receive, send)
            return str(answer.status_code)
        if kind in {"drop_before", "drop_after"}:
            if kind == "drop_after":
                await self._app(scope, receive, _Reply(_swallow, self._keep))
            await cut(receive, send)
            return kind
        reply = _Reply(send, self._keep, plan.slow.seconds if kind == "slow" else 0)
        await self._app(scope, receive, reply)
        return reply.status


class _Reply:
    """A `send` that keeps what was written, notes the status, and waits before it lets the answer go."""

    def __init__(self, send: Send, keep: Callable[[], None], wait_s: float = 0) -> None:
        self.status = "none"
        self._send = send
        self._keep = keep
        self._wait_s = wait_s

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._keep()
            self.status = str(message["status"])
            if self._wait_s:
                await asyncio.sleep(self._wait_s)
        await self._send(message)


async def cut(receive: Receive, send: Send) -> None:
    """Close the connection with no answer at all.

    ASGI has no word for it, so this reaches for the transport behind uvicorn's `send`.
    """
    send.__self__.transport.close()  # type: ignore[attr-defined]
    while (await receive())["type"] != "http.disconnect":
        pass


async def _swallow(_message: Message) -> None:
    pass


def _failure(kind: str, plan: FaultPlan) -> Response:
    if kind == "404":
        return PlainTextResponse("404 page not found\n", 404)
    if kind == "5xx":
        return JSONResponse({"error": "Internal server error"}, plan.status_5xx)
    headers = (
        {} if plan.retry_after_s is None else {"Retry-After": str(math.ceil(plan.retry_after_s))}
    )
    return JSONResponse({"error": "Too many requests"}, 429, headers)


def _name(scope: Scope) -> str:
    """Return `GET /api/accounts/{number}/status`: the route, so that counts stay few."""
    path: str = scope["path"]
    for name, value in scope.get("path_params", {}).items():
        path = path.replace(f"/{value}", f"/{{{name}}}", 1)
    return f"{scope['method']} {path}"

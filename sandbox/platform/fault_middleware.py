"""The outermost layer: counts the API's answers and injects the faults in force."""

import asyncio
import math
from collections.abc import Callable

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.platform.faults import FaultPlan
from sandbox.platform.state import PlatformState

API = ("/api/", "/auth/", "/internal/")


class FaultMiddleware:
    """Commits the writes of a request before its answer leaves, so that they survive a kill."""

    def __init__(self, app: ASGIApp, state: PlatformState) -> None:
        self._app = app
        self._faults = state.faults
        self._ledger = state.ledger
        self._commit = state.store.commit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not scope["path"].startswith(API):
            await self._app(scope, receive, _AnswerSender(send, self._commit))
            return
        kind = None
        if self._faults.matches(scope["path"]):
            await asyncio.sleep(self._faults.plan.latency_s)
            kind = self._faults.draw_fault()
        result = await self._serve(kind, scope, receive, send)
        name = _name_route(scope)
        self._ledger.count("requests", name, result)
        if kind:
            self._ledger.count("faults", name, kind)

    async def _serve(self, kind: str | None, scope: Scope, receive: Receive, send: Send) -> str:
        """Return the status that the client sees, or the kind of fault."""
        plan = self._faults.plan
        if kind in {"429", "404", "5xx"}:
            if kind == "5xx" and plan.processed_5xx:
                await self._app(scope, receive, _AnswerSender(_discard, self._commit))
            answer = _make_error(kind, plan)
            await answer(scope, receive, send)
            return str(answer.status_code)
        if kind in {"drop_before", "drop_after"}:
            if kind == "drop_after":
                await self._app(scope, receive, _AnswerSender(_discard, self._commit))
            await close_connection(receive, send)
            return kind
        reply = _AnswerSender(send, self._commit, plan.slow.seconds if kind == "slow" else 0)
        await self._app(scope, receive, reply)
        return reply.status


class _AnswerSender:
    """A `send` that commits writes, records the status, and waits before it sends the answer."""

    def __init__(self, send: Send, commit: Callable[[], None], wait_s: float = 0) -> None:
        self.status = "none"
        self._send = send
        self._commit = commit
        self._wait_s = wait_s

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._commit()
            self.status = str(message["status"])
            if self._wait_s:
                await asyncio.sleep(self._wait_s)
        await self._send(message)


async def close_connection(receive: Receive, send: Send) -> None:
    """Close the connection without an answer.

    ASGI has no message for it, so this uses the transport behind uvicorn's `send`.
    """
    send.__self__.transport.close()  # type: ignore[attr-defined]
    while (await receive())["type"] != "http.disconnect":
        pass


async def _discard(_message: Message) -> None:
    pass


def _make_error(kind: str, plan: FaultPlan) -> Response:
    if kind == "404":
        return PlainTextResponse("404 page not found\n", 404)
    if kind == "5xx":
        return JSONResponse({"error": "Internal server error"}, plan.status_5xx)
    headers = (
        {} if plan.retry_after_s is None else {"Retry-After": str(math.ceil(plan.retry_after_s))}
    )
    return JSONResponse({"error": "Too many requests"}, 429, headers)


def _name_route(scope: Scope) -> str:
    """Return the route (`GET /api/accounts/{number}/status`), so that there are few counters."""
    path: str = scope["path"]
    for name, value in scope.get("path_params", {}).items():
        path = path.replace(f"/{value}", f"/{{{name}}}", 1)
    return f"{scope['method']} {path}"

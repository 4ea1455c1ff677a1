"""The ASGI app: API, phone page and admin endpoints behind the fault middleware."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.platform import account_routes, admin, message_routes, phone
from sandbox.platform.errors import ApiError, answer_api_error, answer_http_error
from sandbox.platform.fault_middleware import FaultMiddleware
from sandbox.platform.settings import Settings
from sandbox.platform.state import PlatformState


async def health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def index(_request: Request) -> Response:
    return RedirectResponse("/phone")


def create_app(settings: Settings | None = None, **options: Any) -> FaultMiddleware:
    """Return the platform as an ASGI app; `options` are fields of `Settings`."""
    state = PlatformState(settings or Settings(**options))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        state.resume()
        yield
        await state.close()

    own = [Route("/health", health), Route("/", index)]
    app = Starlette(
        routes=[*message_routes.ROUTES, *account_routes.ROUTES, *phone.ROUTES, *admin.ROUTES, *own],
        lifespan=lifespan,
        exception_handlers={ApiError: answer_api_error, HTTPException: answer_http_error},
    )
    app.state.platform = state
    return FaultMiddleware(app, state)

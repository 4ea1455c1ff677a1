"""The ASGI app: the API, the phone page and the admin endpoints, behind the door that plays faults."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.platform import account_routes, admin, message_routes, phone
from sandbox.platform.door import Door
from sandbox.platform.errors import ApiError, answer_api_error, answer_http_error
from sandbox.platform.settings import Settings
from sandbox.platform.world import World


async def health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def index(_request: Request) -> Response:
    return RedirectResponse("/phone")


def create_app(settings: Settings | None = None, **options: Any) -> Door:
    """Return the platform as an ASGI app, for uvicorn; `options` are those of `Settings`."""
    world = World(settings or Settings(**options))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        world.resume()
        yield
        await world.close()

    own = [Route("/health", health), Route("/", index)]
    app = Starlette(
        routes=[*message_routes.ROUTES, *account_routes.ROUTES, *phone.ROUTES, *admin.ROUTES, *own],
        lifespan=lifespan,
        exception_handlers={ApiError: answer_api_error, HTTPException: answer_http_error},
    )
    app.state.world = world
    return Door(app, world)

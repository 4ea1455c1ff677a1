"""The door: FastAPI over Redis. Run by `python -m workers.ingress`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from shared import logs, payload_store
from shared.database import Database
from shared.lanes.client import Lanes
from shared.redis import connect, connect_async, connect_durable
from shared.route_cache import RouteCache
from shared.settings import (
    EngineSettings,
    IngressSettings,
    KeySettings,
    PageSettings,
    RedisSettings,
    SupabaseSettings,
    load_settings,
)
from workers.ingress import errors as problems
from workers.ingress import metrics
from workers.ingress.auth import Sessions
from workers.ingress.connect_page import Page
from workers.ingress.cors import Cors
from workers.ingress.deps import Doorway
from workers.ingress.enqueue import GroupedAppends
from workers.ingress.integrations import endpoints as integrations
from workers.ingress.integrations import service as wishes
from workers.ingress.messages import endpoints as messages
from workers.ingress.notifications import Changes, on_stop
from workers.ingress.webhooks import endpoint as webhooks
from workers.send import in_doubt


class App(FastAPI):
    """FastAPI, past which the platform's events go: they are the many, and need nothing of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if webhooks.is_meant(scope):
            await webhooks.serve(scope, receive, send, self.state.doorway)
        else:
            await super().__call__(scope, receive, send)


@dataclass(frozen=True)
class Settings:
    """Everything that this process is told, read before it serves anything."""

    redis: RedisSettings
    supabase: SupabaseSettings
    keys: KeySettings
    engine: EngineSettings
    door: IngressSettings
    page: PageSettings

    @classmethod
    def load(cls) -> Self:
        return cls(
            load_settings(RedisSettings),
            load_settings(SupabaseSettings),
            load_settings(KeySettings),
            load_settings(EngineSettings),
            load_settings(IngressSettings),
            load_settings(PageSettings),
        )


def create_app() -> FastAPI:
    """Return the app. What it works with is opened when it starts to serve.

    Raises:
        ConfigurationError: a setting is missing or wrong.
        NotDurableError: this Redis might forget what we accept.
        redis.RedisError: it does not answer.
    """
    logs.configure_logging("web")
    settings = Settings.load()
    connect_durable(settings.redis).close()
    app = App(
        title="WPP pipeline",
        version="1",
        lifespan=partial(_open, settings),
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    app.add_middleware(Cors, origins=settings.page.wpp_page_parents.split())
    app.include_router(messages.router)
    app.include_router(integrations.router)
    app.routes.extend(Page(settings.page, settings.supabase).routes)
    app.routes.extend(
        metrics.routes(settings.door.wpp_metrics_token, connect(settings.redis.redis_url))
    )
    app.routes.append(Route("/health", _health))
    app.routes.append(Route("/ready", _ready))
    return app


@asynccontextmanager
async def _open(settings: Settings, app: FastAPI) -> AsyncIterator[None]:
    sync, client = (
        connect(settings.redis.redis_url),
        connect_async(settings.redis.redis_url),
    )
    database = Database(settings.supabase)
    lanes, changes = Lanes(sync, settings.engine), Changes(client)
    on_stop(changes.stop)
    app.state.doorway = Doorway(
        keys=settings.keys,
        door=settings.door,
        blob_ttl_s=int(2 * settings.engine.wpp_max_age_s) + payload_store.RELEASED_TTL_S,
        redis=client,
        appends=GroupedAppends(client, lanes),
        database=database,
        route_cache=RouteCache(sync, database),
        sessions=Sessions(database.users.find_organization),
        changes=changes,
        try_again=partial(wishes.try_again, sync, lanes, database),
        settle_unknown=partial(in_doubt.resolve_unknown, sync, lanes),
    )
    yield
    await changes.aclose()
    await client.aclose()
    sync.close()


async def _health(_request: Request) -> Response:
    """Tell that this process lives."""
    return JSONResponse({"ok": True})


async def _ready(request: Request) -> Response:
    """Tell whether this process could accept something now."""
    here: Doorway = request.app.state.doorway
    await here.redis.ping()
    return JSONResponse({"ok": True})

"""The web application: the HTTP API, webhooks, the connect page, the console and metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from fastapi import FastAPI
from pydantic import SecretStr
from redis import Redis, RedisError
from redis.asyncio import Redis as AsyncRedis
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from shared import logs, payload_store, processes
from shared.database import Database
from shared.event_ids import KEEP_EVERY_S, EventIds
from shared.lanes import records
from shared.lanes.client import Lanes
from shared.redis import connect, connect_async, connect_durable
from shared.route_cache import RouteCache
from shared.service_keys import StoredKeys
from shared.settings import (
    CallbackSettings,
    EngineSettings,
    IngressSettings,
    KeySettings,
    MediaSettings,
    PageSettings,
    RedisSettings,
    RetentionSettings,
    SupabaseSettings,
    load_settings,
)
from shared.shards import ShardTable
from shared.traces import start_traces
from workers.ingress import docs_site, metrics, reference_page
from workers.ingress.access import ApiAccess
from workers.ingress.auth import SessionCache
from workers.ingress.callbacks import endpoints as callbacks
from workers.ingress.callers import ORGANIZATION_HEADER, Callers
from workers.ingress.connect_page import ConnectPage
from workers.ingress.console.access import ConsoleAccess
from workers.ingress.console.operators import Operators
from workers.ingress.console.page import ConsolePages
from workers.ingress.console.routes import ROUTERS as CONSOLE_ROUTERS
from workers.ingress.conversations import endpoints as conversations
from workers.ingress.crm_functions import CrmFunctions
from workers.ingress.deps import AppState
from workers.ingress.errors import Problem, install_error_handlers
from workers.ingress.events import endpoints as events
from workers.ingress.events.feeds import SharedFeeds, read_by
from workers.ingress.files import endpoints as files
from workers.ingress.functions import endpoint as functions
from workers.ingress.idempotency import IdempotencyStore
from workers.ingress.integrations import endpoints as integrations
from workers.ingress.integrations.open_streams import OpenStreams, SharedLists
from workers.ingress.lookups import LookupCache
from workers.ingress.messages import batch_endpoints as batches
from workers.ingress.messages import change_endpoints as changes
from workers.ingress.messages import direct, reading
from workers.ingress.messages import endpoints as messages
from workers.ingress.notifications import Notifications, call_on_stop_signal
from workers.ingress.openapi import complete_document
from workers.ingress.pacing import endpoints as pacing
from workers.ingress.readiness import (
    ReadinessCheck,
    get_health,
    get_pipeline_health,
    get_readiness,
)
from workers.ingress.reads import BatchingReader
from workers.ingress.request_limits import RequestLimits, read_quotas
from workers.ingress.shard_states import ShardStates
from workers.ingress.token_verifier import TokenVerifier
from workers.ingress.traced import make_producer
from workers.ingress.webhooks import endpoint as webhooks
from workers.pulse import Pulse

DESCRIPTION = """\
Connect WhatsApp numbers of an organization, send messages through them and read their status.

Every request carries the credentials of an organization and has access to that organization only.
A service key that is valid for several organizations needs the header `Wpp-Organization` with the
id of one of them.
Errors are problem details (RFC 9457). A request that is answered with 503 was not confirmed:
repeat it with the same `Idempotency-Key`, and it takes effect once. `RateLimit` says what is left
of the caller's quota; beyond it the answer is 429.
"""
TAGS = [
    {"name": "messages", "description": "Send, change and read messages."},
    {"name": "integrations", "description": "Connect and manage WhatsApp numbers."},
    {"name": "pacing", "description": "How fast numbers write, and to how many new people."},
    {"name": "events", "description": "What happens to messages and numbers, as it happens."},
    {"name": "callbacks", "description": "Have events posted to you, signed."},
]
ROUTERS = (
    reading.router,
    conversations.router,
    messages.router,
    batches.router,
    files.router,
    changes.router,
    changes.conversations,
    integrations.router,
    events.router,
    pacing.router,
    callbacks.router,
)
"""The routes of `/v1`."""
CORS_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CORS_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Prefer",
    "Last-Event-ID",
    ORGANIZATION_HEADER,
)
CORS_RESPONSE_HEADERS = (
    "Location",
    "Idempotent-Replayed",
    "Preference-Applied",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
)


class IngressApp(FastAPI):
    """FastAPI; what comes most often, and the CRM's functions, are handled before it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
        elif head := direct.read_head(scope):
            app, state = super().__call__, self.state.ingress
            await direct.handle_send(head, {**scope, "app": self}, receive, send, app, state)
        elif functions.matches_path(scope):
            await functions.handle_function(scope, receive, send, self.state.ingress)
        elif webhooks.matches_path(scope):
            await webhooks.handle_webhook(scope, receive, send, self.state.ingress)
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, completed by what holds for every route."""
        if not self.openapi_schema:
            complete_document(super().openapi(), Problem)
        return super().openapi()


class ApiCors(CORSMiddleware):
    """CORS for `/v1` only: pages of allowed origins may call the API only."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@dataclass(frozen=True)
class ProcessSettings:
    """Every setting of this process, read before it serves."""

    redis: RedisSettings
    supabase: SupabaseSettings
    keys: KeySettings
    engine: EngineSettings
    ingress: IngressSettings
    page: PageSettings
    media: MediaSettings
    callbacks: CallbackSettings
    retention: RetentionSettings

    @classmethod
    def load(cls) -> Self:
        return cls(
            load_settings(RedisSettings).at_home(),
            load_settings(SupabaseSettings),
            load_settings(KeySettings),
            load_settings(EngineSettings),
            load_settings(IngressSettings),
            load_settings(PageSettings),
            load_settings(MediaSettings),
            load_settings(CallbackSettings),
            load_settings(RetentionSettings),
        )


def create_api(**options: Any) -> IngressApp:
    """Return the app with the routes of `/v1` only; its OpenAPI document needs no settings."""
    app = IngressApp(
        title="WPP pipeline",
        version="1",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would follow the Host header
        **options,
    )
    install_error_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    return app


def create_app() -> FastAPI:
    """Return the app; its clients are opened when it starts to serve.

    Raises:
        ConfigurationError: a setting is missing or invalid.
        NotDurableError: Redis may forget what it has confirmed.
        redis.RedisError: Redis does not answer.
    """
    logs.configure_logging("web")
    start_traces("web")
    settings = ProcessSettings.load()
    with connect_durable(settings.redis) as client:
        event_ids = EventIds.load(client)
    table = open_table(settings.redis, event_ids)
    app = create_api(
        lifespan=partial(open_state, settings, event_ids, table),
        servers=[
            {"url": "/", "description": "The server that this document comes from."},
            {
                "url": str(settings.keys.wpp_public_url).rstrip("/"),
                "description": "Its public address (`WPP_PUBLIC_URL`).",
            },
        ],
    )
    for router in CONSOLE_ROUTERS:
        app.include_router(router)
    app.add_middleware(ConsoleAccess)
    app.add_middleware(ApiAccess)
    app.add_middleware(
        ApiCors,
        allow_origins=settings.page.wpp_page_parents.split(),
        allow_methods=CORS_METHODS,
        allow_headers=CORS_REQUEST_HEADERS,
        expose_headers=CORS_RESPONSE_HEADERS,
    )
    app.routes.extend(reference_page.list_routes())
    app.routes.extend(docs_site.list_routes())
    app.routes.extend(ConsolePages(settings.supabase).routes)
    app.routes.extend(ConnectPage(settings.page, settings.supabase).routes)
    app.routes.extend(
        metrics.build_routes(
            settings.ingress.wpp_metrics_token,
            connect(settings.redis.redis_url),
            settings.engine.wpp_outbox_limit,
            {name: connect(url) for name, url in settings.redis.shards.items()},
        )
    )
    app.routes.append(Route("/health", get_health))
    app.routes.append(Route("/health/pipeline", get_pipeline_health))
    app.routes.append(Route("/ready", get_readiness))
    return app


def other_shards(settings: RedisSettings) -> dict[str, SecretStr]:
    """Return the URLs of all shards but the home, by name."""
    return dict(list(settings.shards.items())[1:])


def open_table(settings: RedisSettings, event_ids: EventIds) -> ShardTable | None:
    """Return the table of several shards, which have the same secret of ids then.

    Raises:
        ConfigurationError: the shards do not belong together.
        redis.RedisError: a shard does not answer.
    """
    if not settings.shards:
        return None
    table = ShardTable.connect(settings.shards)
    with ExitStack() as opened:
        others = [opened.enter_context(connect(url)) for url in other_shards(settings).values()]
        table.begin(others)
        for client in others:
            event_ids.share(client)
    return table


async def keep_event_ids(event_ids: EventIds, client: AsyncRedis, *, is_home: bool = True) -> None:
    """Give the secret of the ids back to a Redis that lost its data, as long as the task runs."""
    while True:
        await asyncio.sleep(KEEP_EVERY_S)
        with suppress(RedisError):  # the next round tries again
            await (event_ids.keep_async(client) if is_home else event_ids.share_async(client))


@asynccontextmanager
async def open_shards(
    settings: ProcessSettings, table: ShardTable | None, home: AppState
) -> AsyncIterator[AppState]:
    """Open the clients of all other shards; yield the home's state, which leads to theirs."""
    if table is None:
        yield home
        return
    shards = ShardStates(table)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(table.aclose)
        home = shards.by_name[table.names[0]] = replace(home, shards=shards)
        for name, url in other_shards(settings.redis).items():
            shards.by_name[name] = await opened.enter_async_context(open_shard(url, home))
        yield home


@asynccontextmanager
async def open_shard(url: SecretStr, home: AppState) -> AsyncIterator[AppState]:
    """Yield the state of a shard: that of the home, on another Redis."""
    sync_redis, async_redis = connect(url), connect_async(url)
    keeping = asyncio.create_task(keep_event_ids(home.event_ids, async_redis, is_home=False))
    state = replace(home, **redis_fields(sync_redis, async_redis, home.engine, home.database))
    call_on_stop_signal(state.notifications.stop)
    yield state
    keeping.cancel()
    await state.notifications.aclose()
    await async_redis.aclose()
    sync_redis.close()


def redis_fields(
    sync_redis: Redis, async_redis: AsyncRedis, engine: EngineSettings, database: Database
) -> dict[str, Any]:
    """Return the fields of a state that are about the organizations of one Redis."""
    lanes = Lanes(sync_redis, engine)
    return {
        "redis": async_redis,
        "sync_redis": sync_redis,
        "lanes": lanes,
        "producer": make_producer(async_redis, lanes),
        "reader": BatchingReader(async_redis.mget),
        "acceptances": BatchingReader(partial(records.read_acceptances, async_redis)),
        "route_cache": RouteCache(sync_redis, database),
        "idempotency": IdempotencyStore(async_redis),
        "notifications": Notifications(async_redis),
        "readiness": ReadinessCheck(async_redis, lanes.replicas),
    }


@asynccontextmanager
async def open_state(
    settings: ProcessSettings, event_ids: EventIds, table: ShardTable | None, app: FastAPI
) -> AsyncIterator[None]:
    """Open the clients of the app, and close them when it stops."""
    sync_redis = connect(settings.redis.redis_url)
    async_redis = connect_async(settings.redis.redis_url)
    database = Database(settings.supabase, media=settings.media)
    request_limits = RequestLimits(async_redis, read_quotas(settings.ingress))
    verifier = TokenVerifier(
        database.users.fetch_public_keys,
        settings.ingress.supabase_jwt_issuer
        or f"{str(settings.supabase.supabase_url).rstrip('/')}/auth/v1",
        settings.ingress.supabase_jwt_secret,
    )
    sessions = SessionCache(
        database.users.find_organization, settings.ingress.wpp_session_check_s, verifier
    )
    crm_url = settings.ingress.wpp_crm_functions_url
    crm_functions = CrmFunctions(str(crm_url) if crm_url else None)
    stored_keys = StoredKeys(database, sync_redis)
    service_keys = LookupCache(stored_keys.find, settings.ingress.wpp_session_check_s)
    home = AppState(
        engine=settings.engine,
        keys=settings.keys,
        service_role_key=settings.supabase.supabase_service_role_key,
        limits=settings.ingress,
        payload_ttl_s=int(2 * settings.engine.wpp_max_age_s) + payload_store.RELEASED_TTL_S,
        event_ids=event_ids,
        database=database,
        file_limit=settings.media.wpp_media_limit,
        file_days=settings.retention.wpp_file_days,
        operators=Operators.new(
            database, sync_redis, verifier, settings.ingress.wpp_session_check_s
        ),
        callers=Callers(sessions, service_keys, stored_keys.is_in_use),
        request_limits=request_limits,
        crm_functions=crm_functions,
        open_streams=OpenStreams(
            settings.ingress.wpp_stream_limit, settings.ingress.wpp_stream_limit_per_organization
        ),
        shared_lists=SharedLists(),
        feeds=SharedFeeds(read_by(database)),
        callback_settings=settings.callbacks,
        **redis_fields(sync_redis, async_redis, settings.engine, database),
    )
    call_on_stop_signal(home.notifications.stop)
    keeping = asyncio.create_task(keep_event_ids(event_ids, async_redis))
    async with open_shards(settings, table, home) as app.state.ingress:
        with Pulse(sync_redis, [processes.WEB]):
            yield
    keeping.cancel()
    await home.notifications.aclose()
    await request_limits.aclose()
    await crm_functions.aclose()
    await async_redis.aclose()
    sync_redis.close()

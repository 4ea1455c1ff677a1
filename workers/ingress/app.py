"""The web application: the HTTP API, webhooks, the connect page and metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from shared import logs, payload_store, processes
from shared.database import Database
from shared.event_ids import EventIds
from shared.lanes.client import Lanes
from shared.redis import connect, connect_async, connect_durable
from shared.route_cache import RouteCache
from shared.service_keys import StoredKeys
from shared.settings import (
    EngineSettings,
    IngressSettings,
    KeySettings,
    MediaSettings,
    PageSettings,
    RedisSettings,
    SupabaseSettings,
    load_settings,
)
from workers.ingress import metrics
from workers.ingress.access import ApiAccess
from workers.ingress.auth import SessionCache
from workers.ingress.callers import ORGANIZATION_HEADER, Callers
from workers.ingress.connect_page import ConnectPage
from workers.ingress.crm_functions import CrmFunctions
from workers.ingress.deps import AppState
from workers.ingress.enqueue import BatchingProducer
from workers.ingress.errors import Problem, install_error_handlers
from workers.ingress.functions import endpoint as functions
from workers.ingress.idempotency import IdempotencyStore
from workers.ingress.integrations import endpoints as integrations
from workers.ingress.integrations.open_streams import OpenStreams, SharedLists
from workers.ingress.lookups import LookupCache
from workers.ingress.messages import endpoints as messages
from workers.ingress.notifications import Notifications, call_on_stop_signal
from workers.ingress.readiness import (
    ReadinessCheck,
    get_health,
    get_pipeline_health,
    get_readiness,
)
from workers.ingress.request_limits import RequestLimits, read_quotas
from workers.ingress.token_verifier import TokenVerifier
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
    {"name": "messages", "description": "Send messages and read their status."},
    {"name": "integrations", "description": "Connect and manage WhatsApp numbers."},
]
CORS_METHODS = ("GET", "POST", "PATCH", "DELETE")
CORS_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Prefer",
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
    """FastAPI; webhooks (for throughput) and the CRM's functions are handled before it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if functions.matches_path(scope):
            await functions.handle_function(scope, receive, send, self.state.ingress)
        elif webhooks.matches_path(scope):
            await webhooks.handle_webhook(scope, receive, send, self.state.ingress)
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, with the schemas that the error responses refer to."""
        if not self.openapi_schema:
            schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            nested = schema.pop("$defs")
            super().openapi()["components"]["schemas"] |= {"Problem": schema, **nested}
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

    @classmethod
    def load(cls) -> Self:
        return cls(
            load_settings(RedisSettings),
            load_settings(SupabaseSettings),
            load_settings(KeySettings),
            load_settings(EngineSettings),
            load_settings(IngressSettings),
            load_settings(PageSettings),
            load_settings(MediaSettings),
        )


def create_app() -> FastAPI:
    """Return the app; its clients are opened when it starts to serve.

    Raises:
        ConfigurationError: a setting is missing or invalid.
        NotDurableError: Redis may forget what it has confirmed.
        redis.RedisError: Redis does not answer.
    """
    logs.configure_logging("web")
    settings = ProcessSettings.load()
    with connect_durable(settings.redis) as client:
        event_ids = EventIds.load(client)
    app = IngressApp(
        title="WPP pipeline",
        version="1",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=partial(open_state, settings, event_ids),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would follow the Host header
    )
    install_error_handlers(app)
    app.add_middleware(ApiAccess)
    app.add_middleware(
        ApiCors,
        allow_origins=settings.page.wpp_page_parents.split(),
        allow_methods=CORS_METHODS,
        allow_headers=CORS_REQUEST_HEADERS,
        expose_headers=CORS_RESPONSE_HEADERS,
    )
    app.include_router(messages.router)
    app.include_router(integrations.router)
    app.routes.extend(ConnectPage(settings.page, settings.supabase).routes)
    app.routes.extend(
        metrics.build_routes(
            settings.ingress.wpp_metrics_token,
            connect(settings.redis.redis_url),
            settings.engine.wpp_outbox_limit,
        )
    )
    app.routes.append(Route("/health", get_health))
    app.routes.append(Route("/health/pipeline", get_pipeline_health))
    app.routes.append(Route("/ready", get_readiness))
    return app


@asynccontextmanager
async def open_state(
    settings: ProcessSettings, event_ids: EventIds, app: FastAPI
) -> AsyncIterator[None]:
    """Open the clients of the app, and close them when it stops."""
    sync_redis = connect(settings.redis.redis_url)
    async_redis = connect_async(settings.redis.redis_url)
    database = Database(settings.supabase, media=settings.media)
    lanes = Lanes(sync_redis, settings.engine)
    notifications = Notifications(async_redis)
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
    service_keys = LookupCache(
        StoredKeys(database, sync_redis).find, settings.ingress.wpp_session_check_s
    )
    call_on_stop_signal(notifications.stop)
    app.state.ingress = AppState(
        keys=settings.keys,
        service_role_key=settings.supabase.supabase_service_role_key,
        limits=settings.ingress,
        payload_ttl_s=int(2 * settings.engine.wpp_max_age_s) + payload_store.RELEASED_TTL_S,
        redis=async_redis,
        sync_redis=sync_redis,
        lanes=lanes,
        producer=BatchingProducer(async_redis, lanes),
        event_ids=event_ids,
        database=database,
        route_cache=RouteCache(sync_redis, database),
        callers=Callers(settings.keys.secrets, sessions, service_keys),
        idempotency=IdempotencyStore(async_redis),
        notifications=notifications,
        readiness=ReadinessCheck(async_redis, lanes.replicas),
        request_limits=request_limits,
        crm_functions=crm_functions,
        open_streams=OpenStreams(
            settings.ingress.wpp_stream_limit, settings.ingress.wpp_stream_limit_per_organization
        ),
        shared_lists=SharedLists(),
    )
    with Pulse(sync_redis, [processes.WEB]):
        yield
    await notifications.aclose()
    await request_limits.aclose()
    await crm_functions.aclose()
    await async_redis.aclose()
    sync_redis.close()

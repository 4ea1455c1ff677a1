"""What the flows work with, built once per process, after the fork and not at import."""

from dataclasses import dataclass
from functools import cache

import redis

from shared.database import Database
from shared.errors import DatabaseError
from shared.lanes.client import Lanes
from shared.lanes.records import total_waiting
from shared.platform import Platform
from shared.platform.account import PlatformAccount
from shared.platform.circuit_breaker import CircuitBreaker
from shared.route_cache import RouteCache
from shared.settings import (
    EngineSettings,
    KeySettings,
    PlatformSettings,
    SupabaseSettings,
    load_settings,
)
from shared.tokens import TokenAuth, TokenCache
from shared.tokens.key_cache import KeyCachingStore
from workers.broker import broker


@dataclass(frozen=True)
class WorkerContext:
    engine: EngineSettings
    keys: KeySettings
    redis: "redis.Redis"
    lanes: Lanes
    database: Database
    route_cache: RouteCache
    platform: Platform
    tokens: TokenCache
    breaker: CircuitBreaker

    def as_account(self, account: str, *, refresh_ahead: bool = True) -> PlatformAccount:
        """Return the platform's calls for `account`, each with the account's token.

        Without `refresh_ahead` they use a token to its end.
        """
        auth = TokenAuth(self.tokens, account, refresh_ahead=refresh_ahead)
        return self.platform.as_account(account, auth)


@cache
def worker_context() -> WorkerContext:
    """Return this process's services.

    Raises:
        ConfigurationError: a setting is missing or wrong, said so that it can be mended.
    """
    return build_context(broker.client)


def build_context(client: "redis.Redis") -> WorkerContext:
    """Put services together on a Redis, everything else as the settings say."""
    engine = load_settings(EngineSettings)
    database = Database(load_settings(SupabaseSettings))
    settings = load_settings(PlatformSettings)
    route_cache = RouteCache(client, database)
    breaker = CircuitBreaker(
        client,
        str(settings.wpp_base_url),
        count_waiting=lambda account: count_waiting(client, route_cache, account),
    )
    platform = Platform(settings, breaker=breaker, deadline_s=engine.wpp_http_deadline_s)
    key_settings = load_settings(KeySettings)
    store = KeyCachingStore(database.tokens, client, key_settings.secrets)
    tokens = TokenCache(client, platform.mint_token, store)
    return WorkerContext(
        engine=engine,
        keys=key_settings,
        redis=client,
        lanes=Lanes(client, engine),
        database=database,
        route_cache=route_cache,
        platform=platform,
        tokens=tokens,
        breaker=breaker,
    )


def count_waiting(
    client: "redis.Redis", route_cache: RouteCache, account: str | None
) -> int | None:
    """Return how many messages of an account's organization wait, or of all of them.

    None: unknown, as Redis or Supabase does not answer.
    """
    try:
        tenants = total_waiting(client, ["send"])["send"]
        if account is None:
            return sum(tenants.values())
        route = route_cache.find_account_route(account)
    except (redis.RedisError, DatabaseError):
        return None
    return tenants.get(str(route.organization_id), 0) if route else 0

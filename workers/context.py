"""What the flows work with, built once per process, after the fork and not at import."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import redis

from shared.database import Database
from shared.lanes.client import Claim, Lanes, Verdict
from shared.platform import Platform
from shared.platform.circuit_breaker import Breaker
from shared.route_cache import Directory
from shared.settings import EngineSettings, KeySettings, PlatformSettings, SupabaseSettings, load
from shared.tokens import TokenAuth, TokenCache
from workers.broker import broker


@dataclass(frozen=True)
class Services:
    engine: EngineSettings
    keys: KeySettings
    redis: "redis.Redis"
    lanes: Lanes
    database: Database
    directory: Directory
    platform: Platform
    tokens: TokenCache
    breaker: Breaker


Handle = Callable[[Claim, Services], Verdict]


@cache
def services() -> Services:
    """Return this process's services.

    Raises:
        ConfigurationError: a setting is missing or wrong, said so that it can be mended.
    """
    return assembled(broker.client)


def assembled(client: "redis.Redis") -> Services:
    """Put services together on a Redis, everything else as the settings say."""
    engine = load(EngineSettings)
    database = Database(load(SupabaseSettings))
    settings = load(PlatformSettings)
    breaker = Breaker(client, str(settings.wpp_base_url))
    platform = Platform(
        settings,
        auth=lambda account: TokenAuth(tokens, account),
        breaker=breaker,
        deadline_s=engine.wpp_http_deadline_s,
    )
    tokens = TokenCache(client, platform.mint_token, database)
    return Services(
        engine=engine,
        keys=load(KeySettings),
        redis=client,
        lanes=Lanes(client, engine),
        database=database,
        directory=Directory(client, database),
        platform=platform,
        tokens=tokens,
        breaker=breaker,
    )

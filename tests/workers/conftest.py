"""What several tests of the workers share."""

import pytest
import redis

from sandbox.platform.server import PlatformServer
from sandbox.supabase.project import Supabase
from tests.workers.provision.environment import Shop


@pytest.fixture
def shop(
    redis_client: redis.Redis, supabase_world: Supabase, database_url: str, platform: PlatformServer
) -> Shop:
    """Return a place to provision in: empty Redis, empty tables, a new platform."""
    del database_url  # asked for because it empties the tables
    return Shop(redis_client, supabase_world, platform)

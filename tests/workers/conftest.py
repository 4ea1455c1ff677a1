"""Fixtures for the tests of workers."""

import pytest
import redis

from sandbox.platform.server import PlatformServer
from sandbox.supabase.project import Supabase
from tests.fixtures.provision_env import ProvisionEnv


@pytest.fixture
def env(
    redis_client: redis.Redis, supabase_world: Supabase, database_url: str, platform: PlatformServer
) -> ProvisionEnv:
    """Return an environment with an empty Redis, empty tables and a new platform."""
    del database_url  # this fixture empties the tables
    return ProvisionEnv(redis_client, supabase_world, platform)

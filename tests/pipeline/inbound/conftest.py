"""Fixtures: an inbound pipeline, and the ingress process."""

from collections.abc import Iterator

import pytest
import redis

from sandbox.platform.server import PlatformServer
from sandbox.supabase.project import Supabase
from tests.fixtures.provision_env import ProvisionEnv
from tests.pipeline.inbound.inbound_pipeline import InboundPipeline, open_pipeline
from tests.workers.ingress.conftest import _ingress, ingress, redis_client, redis_server

__all__ = ["_ingress", "ingress", "pipeline", "redis_client", "redis_server"]


@pytest.fixture
def pipeline(
    redis_client: redis.Redis, supabase_world: Supabase, database_url: str, platform: PlatformServer
) -> Iterator[InboundPipeline]:
    """Return a pipeline with empty Redis, empty tables and a new sandbox platform."""
    del database_url  # the fixture empties the tables
    with open_pipeline(ProvisionEnv(redis_client, supabase_world, platform)) as opened:
        yield opened

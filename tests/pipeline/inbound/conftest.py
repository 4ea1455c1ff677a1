"""A town where things arrive, and the door that they come through."""

from collections.abc import Iterator

import pytest
import redis

from sandbox.platform.server import PlatformServer
from sandbox.supabase.project import Supabase
from tests.pipeline.inbound.inbound_pipeline import InboundPipeline, open_pipeline
from tests.workers.ingress.conftest import _ingress, ingress
from tests.workers.provision.environment import Shop

__all__ = ["_ingress", "ingress", "pipeline"]


@pytest.fixture
def pipeline(
    redis_client: redis.Redis, supabase_world: Supabase, database_url: str, platform: PlatformServer
) -> Iterator[InboundPipeline]:
    """Return an organisation with one connected number; empty Redis, empty tables, a new platform."""
    del database_url  # asked for because it empties the tables
    with open_pipeline(Shop(redis_client, supabase_world, platform)) as opened:
        yield opened

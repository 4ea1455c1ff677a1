"""What tests of the mechanisms share.

`bench`     empty lanes on the session's Redis; after each test their keys must be sound
"""

from collections.abc import Iterator

import pytest
import redis

from shared.settings import EngineSettings
from tests.shared.lanes.harness import Bench
from tests.shared.lanes.invariants import Truth


@pytest.fixture
def bench(redis_client: "redis.Redis") -> Iterator[Bench]:
    """Return lanes with default settings; the test fails if their keys are unsound afterwards."""
    yield Bench(redis_client)
    assert Truth(redis_client, EngineSettings().wpp_max_inflight_per_tenant).faults == []

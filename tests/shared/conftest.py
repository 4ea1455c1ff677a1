"""What tests of the mechanisms share.

`bench`     lanes on the session's Redis, empty; whatever a test did to them, their keys are sound afterwards
"""

from collections.abc import Iterator

import pytest
import redis

from shared.settings import EngineSettings
from tests.shared.lanes.harness import Bench
from tests.shared.lanes.invariants import Truth


@pytest.fixture
def bench(redis_client: "redis.Redis") -> Iterator[Bench]:
    """Return lanes with the default settings. The test fails if it leaves them in a state that may not be."""
    yield Bench(redis_client)
    assert Truth(redis_client, EngineSettings().wpp_max_inflight_per_tenant).faults == []

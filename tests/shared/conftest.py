"""What tests of the mechanisms share.

`harness`     empty lanes on the session's Redis; after each test their keys must be sound
"""

from collections.abc import Iterator

import pytest
import redis

from tests.shared.lanes.harness import LaneHarness
from tests.shared.lanes.invariants import Invariants


@pytest.fixture
def harness(redis_client: "redis.Redis") -> Iterator[LaneHarness]:
    """Return lanes with default settings; the test fails if their keys are unsound afterwards."""
    yield LaneHarness(redis_client)
    assert Invariants(redis_client).faults == []

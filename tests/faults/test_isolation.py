"""An organization at its worst delays no other organization: `bench.isolation`, shorter."""

import pytest

from bench.isolation_phases.figures import format_row
from bench.isolation_phases.phases import Sizes
from bench.isolation_phases.run import measure_phase
from tests.faults.conftest import PrintProgress
from tests.faults.environment import FaultEnvironment

CODES = 8
SIZES = Sizes(lanes=10_000, campaign=1_000)
PHASES = ("lanes", "errors", "locks", "rejects", "deleted", "texts")


@pytest.mark.faults
@pytest.mark.timeout(120)
@pytest.mark.parametrize("phase", PHASES)
def test_codes_arrive_in_time_whatever_another_organization_does(
    env: FaultEnvironment, print_progress: PrintProgress, phase: str
) -> None:
    """Each code is at the platform within 1 s of its request, and its row says so within 2 s."""
    result = measure_phase(env, phase, CODES, print_progress, SIZES)
    print_progress(f"{format_row(result)}  ({result.attack})")
    assert not result.missed

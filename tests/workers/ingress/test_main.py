"""The web process before it serves."""

import gc
from collections.abc import Iterator

import pytest

from workers.ingress.__main__ import GARBAGE, collect_rarely


@pytest.fixture
def usual_collections() -> Iterator[None]:
    """Put the garbage collector back to what it was."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("usual_collections")
def test_what_the_start_made_is_left_out_of_collections() -> None:
    """What comes later is collected, cycles too."""
    kept: list[dict[str, str]] = [{} for _ in range(1000)]
    collect_rarely()
    assert gc.get_freeze_count() > len(kept)
    assert gc.get_threshold() == GARBAGE
    found = gc.collect()
    cycles: list[list[object]] = [[] for _ in range(1000)]
    for cycle in cycles:
        cycle.append(cycle)
    del cycles, cycle
    assert gc.collect() >= found + 1000

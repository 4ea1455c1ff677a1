"""How long a small tenant's events wait while a large tenant has 100,000 events waiting."""

import time

from bench.engine_sides.figures import Figure, percentile
from bench.engine_sides.place import Place, wait_until
from bench.engine_sides.sides import Ours, Side, Stock

WAITING = 100_000
EVENTS = 48
EVERY_S = 0.25


def fairness() -> list[Figure]:
    """Measure with the large tenant's events in 100,000 lanes, and in ten."""
    with Place() as place:
        beside = wait_ms(Stock(place), lanes=1)
    figures = []
    for lanes in (WAITING, 10):
        with Place() as place:
            waits = wait_ms(Ours(place), lanes)
        name = f"p99 pick-up beside {WAITING:,} in {lanes:,} lanes"
        figures.append(
            Figure(name, "ms", percentile(waits, 0.99), percentile(beside, 0.99), 1000.0, over=True)
        )
    return figures


def wait_ms(side: Side, lanes: int) -> list[float]:
    """Return how long each event of the small tenant waited, or waited until the end."""
    side.fill(("big", str(number % lanes)) for number in range(WAITING))
    side.workers()
    put: dict[str, float] = {}
    for number in range(EVENTS):
        put[str(number)] = time.monotonic()
        side.put({"name": str(number), "lane": "small"}, tenant="small")
        time.sleep(EVERY_S)
    wait_until(lambda: len(side.place.notes()) == EVENTS, within_s=1)
    assert side.waiting(), "the big tenant's events ended too early"
    began, end = {note.name: note.at for note in side.place.notes()}, time.monotonic()
    return [(began.get(name, end) - at) * 1000 for name, at in put.items()]

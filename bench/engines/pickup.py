"""How long an event waits on an idle system until its handler begins."""

import random
import time
from threading import Thread

from bench.engines.figures import Figure, percentile
from bench.engines.place import Place, wait_until
from bench.engines.sides import Ours, Side, Stock

EVENTS = 240
EVENTS_STOCK = 60
"""Fewer, so that it is idle before each one, too: it polls more often while there is something to do."""
LASTS_S = 45.0


def pickups() -> list[Figure]:
    """Measure both at the same time: hardly anything runs."""
    waits: dict[str, list[float]] = {}
    with Place() as here, Place() as there:
        us, them = Ours(here), Stock(there)
        both = [
            Thread(target=lambda: waits.update(ours=wait_ms(us, EVENTS))),
            Thread(target=lambda: waits.update(stock=wait_ms(them, EVENTS_STOCK))),
        ]
        us.workers()
        them.workers()
        for one in both:
            one.start()
        for one in both:
            one.join()
    ours, stock = waits["ours"], waits["stock"]
    return [
        Figure(f"idle pick-up, {name}", "ms", percentile(ours, share), percentile(stock, share), target)
        for name, share, target in (("p50", 0.5, 5.0), ("p99", 0.99, 50.0))
    ]


def wait_ms(side: Side, events: int) -> list[float]:
    """Return how long each of `events` waited, handed over at random moments of `LASTS_S`. The first is a rehearsal."""
    put: dict[str, float] = {}
    for number in range(events + 1):
        time.sleep(random.uniform(0.5, 1.5) * LASTS_S / events)  # noqa: S311
        put[str(number)] = time.monotonic()
        side.put({"name": str(number)})
    assert wait_until(lambda: len(side.place.notes()) > events)
    return [(note.at - put[note.name]) * 1000 for note in side.place.notes() if note.name != "0"]

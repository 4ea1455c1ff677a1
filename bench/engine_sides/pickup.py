"""How long an event waits on an idle system until its handler begins."""

import random
import time
from dataclasses import dataclass
from threading import Thread

from bench.engine_sides.figures import Figure, percentile
from bench.engine_sides.place import Place, wait_until
from bench.engine_sides.sides import Ours, Side, Stock

LASTS_S = 40.0
EVENTS = 240
SELDOM = 26
"""Few enough that each event meets workers that are asleep."""
STOCK = 60
"""The stock broker polls more often under load; fewer events let it become idle, too."""


@dataclass
class Waits:
    """Append `events` at random moments of `LASTS_S`; measure the wait of each in ms.

    The first event is a rehearsal.
    """

    side: Side
    events: int

    def __post_init__(self) -> None:
        self.side.workers()
        self.ms: list[float] = []
        self.thread = Thread(target=self._run)

    def _run(self) -> None:
        put: dict[str, float] = {}
        for number in range(self.events + 1):
            time.sleep(random.uniform(0.8, 1.2) * LASTS_S / self.events)  # noqa: S311
            put[str(number)] = time.monotonic()
            self.side.put({"name": str(number)})
        assert wait_until(lambda: len(self.side.place.notes()) > self.events)
        self.ms = [
            (note.at - put[note.name]) * 1000
            for note in self.side.place.notes()
            if note.name != "0"
        ]


def pickups() -> list[Figure]:
    """Run all measurements at the same time: they need little CPU."""
    with Place() as often, Place() as seldom, Place() as there:
        ours, ours_seldom, stock = (
            Waits(Ours(often), EVENTS),
            Waits(Ours(seldom), SELDOM),
            Waits(Stock(there), STOCK),
        )
        for each in (ours, ours_seldom, stock):
            each.thread.start()
        for each in (ours, ours_seldom, stock):
            each.thread.join()
    p50, p99 = (percentile(stock.ms, share) for share in (0.5, 0.99))
    return [
        Figure("idle pick-up, p50", "ms", percentile(ours.ms, 0.5), p50, 5.0),
        Figure("idle pick-up, p99", "ms", percentile(ours.ms, 0.99), p99, 50.0),
        Figure("after a second of silence, p50", "ms", percentile(ours_seldom.ms, 0.5), p50, 5.0),
        Figure(
            "after a second of silence, longest", "ms", max(ours_seldom.ms), max(stock.ms), 50.0
        ),
    ]

"""Events a second from a backlog of no-op events: the cost of the engine alone."""

import statistics
import time

from bench.engine_sides.figures import Figure
from bench.engine_sides.place import Place, wait_until
from bench.engine_sides.sides import Ours, Side, Stock

EVENTS = 3000
TENANTS = 10
IN_LANE = (1, 10, 100)


def throughputs() -> list[Figure]:
    figures = []
    for processes, are in ((1, "process"), (2, "processes")):
        with Place() as here, Place() as there:
            ours, stock = Ours(here), Stock(there)
            with there.paused():
                stock.workers(processes)
            beside = statistics.median(rate(stock, 1) for _ in range(2))
            ours.workers(processes)
            figures += [
                Figure(
                    f"throughput, {each} in a lane, {processes} {are}",
                    "events/s",
                    rate(ours, each),
                    beside,
                    more=True,
                )
                for each in IN_LANE
            ]
    return figures


def rate(side: Side, in_lane: int) -> float:
    lanes = EVENTS // in_lane
    with side.place.paused():
        side.fill(
            (f"tenant{lane % TENANTS}", str(lane)) for lane in range(lanes) for _ in range(in_lane)
        )
        began = time.monotonic()
    assert wait_until(lambda: not side.waiting(), every_s=0.005)
    return EVENTS / (time.monotonic() - began)

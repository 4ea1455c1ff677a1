"""What an idle installation takes: memory of the Procfile's processes, CPU of these and of Redis.

One process for each line of the Procfile, and of the Procfile of a small installation, which the
target of memory is for. Memory is the unique set: what would be free again without the process.
Stock: a worker for each queue and an ingress, which do nothing either.
"""

import time
from contextlib import ExitStack

import psutil

from bench.engine_sides.figures import Figure
from bench.engine_sides.idle import serves
from bench.engine_sides.place import Place, list_family, procfile, wait_until
from bench.engine_sides.played import playing
from bench.engine_sides.sides import blocked_consumers, heartbeats
from bench.webhook_load.servers import UVICORN
from sandbox.pipeline import ROOT
from sandbox.ports import free_port
from shared.events import QUEUE_NAMES

SETTLES_S = 8.0
LASTS_S = 20.0
MOST_SMALL_MB = 250.0
SMALL = ROOT / "deploy" / "Procfile.small"
MOST_CPU = 1.0
QUEUES = ("send", "provision", "webhook")
"""Of the stock workers, with the threads of the Procfile."""


def footprints() -> list[Figure]:
    """Measure both at the same time; print the memory of each process of ours."""
    with ExitStack() as undo:
        played = undo.enter_context(playing())
        ours = undo.enter_context(Place(**played.environment))
        small = undo.enter_context(Place(**played.environment))
        stock = undo.enter_context(Place())
        start_ours(ours)
        start_small(small)
        start_stock(stock)
        time.sleep(SETTLES_S)
        before = [sum(place.cpu_by_name().values()) for place in (ours, stock)]
        time.sleep(LASTS_S)
        after = [sum(place.cpu_by_name().values()) for place in (ours, stock)]
        here, few, there = memory_mb(ours), memory_mb(small), memory_mb(stock)
    for used in (here, few):
        print("idle, MB:", ", ".join(f"{name} {mb:.0f}" for name, mb in used.items()))
    idle, beside = (
        100 * (late - early) / LASTS_S for early, late in zip(before, after, strict=True)
    )
    return [
        Figure("memory of idle processes", "MB", sum(here.values()), sum(there.values())),
        Figure(
            "memory of a small installation",
            "MB",
            sum(few.values()),
            sum(there.values()),
            MOST_SMALL_MB,
        ),
        Figure("CPU of an idle fleet", "% a core", idle, beside, MOST_CPU),
    ]


def start_ours(place: Place) -> None:
    port = str(free_port())
    for name, line in procfile().items():
        place.start(line, name, PORT=port)
    queues = sum("--queues" in line for line in procfile().values())
    assert wait_until(lambda: blocked_consumers(place) >= queues and serves(port), 180)
    place.check()


def start_small(place: Place) -> None:
    port = str(free_port())
    for name, line in procfile(SMALL).items():
        place.start(line, name, PORT=port)
    assert wait_until(lambda: blocked_consumers(place) >= len(QUEUE_NAMES) and serves(port), 180)
    place.check()


def start_stock(place: Place) -> None:
    for queue in QUEUES:
        threads = 32 if queue == "send" else 8
        worker = f"dramatiq bench.engine_sides.stock_worker -Q {queue} -p 1 -t {threads}"
        place.start(f"{worker} --skip-logging", queue)
    place.start(f"{UVICORN} bench.webhook_load.baseline:app --port {free_port()}", "ingress")
    assert wait_until(lambda: heartbeats(place) >= len(QUEUES), 180)
    place.check()


def memory_mb(place: Place) -> dict[str, float]:
    """Return the unique set of each program with its children."""
    return {
        program.program.name: sum(_unique_mb(each) for each in list_family(program.pid))
        for program in place.programs
    }


def _unique_mb(process: psutil.Process) -> float:
    return float(process.memory_full_info().uss) / 1e6

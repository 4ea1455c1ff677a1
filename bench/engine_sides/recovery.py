"""How long after kill -9 of a worker its events run again, beside an idle worker."""

import time
from threading import Thread

import psutil

from bench.engine_sides.figures import Figure
from bench.engine_sides.handling import Note
from bench.engine_sides.place import Place, wait_until
from bench.engine_sides.sides import Ours, Side, Stock
from sandbox.processes import Process

EVENTS = 6
LONGEST_S = 60.0


class Recovery:
    """Starts at construction, in the background: it mostly waits."""

    def __init__(self) -> None:
        self._found: dict[str, float] = {}
        self._both = [Thread(target=self._ours), Thread(target=self._stock)]
        for one in self._both:
            one.start()

    def figure(self) -> Figure:
        for one in self._both:
            one.join()
        ours, stock = self._found["ours"], self._found["stock"]
        return Figure(
            "all run again after kill -9 of a worker",
            "s",
            ours,
            stock,
            30.0,
            over=stock >= LONGEST_S,
        )

    def _ours(self) -> None:
        with Place() as place:
            place.start("python -m workers.clock")
            self._found["ours"] = recovery_s(Ours(place))

    def _stock(self) -> None:
        with Place() as place:
            self._found["stock"] = recovery_s(Stock(place))


def recovery_s(side: Side) -> float:
    """Return seconds from the death of the busiest worker to the last new start."""
    workers = [side.workers(), side.workers()]
    for number in range(EVENTS):
        side.put({"name": str(number), "hold": True}, tenant=str(number))
    assert wait_until(lambda: len(side.place.notes()) == EVENTS)
    held = {each: {note.name for note in side.place.notes() if by(each, note)} for each in workers}
    victim = max(workers, key=lambda each: len(held[each]))
    side.place.programs.remove(victim)
    victim.kill()
    killed = time.monotonic()

    def again() -> dict[str, float]:
        return {
            note.name: note.at
            for note in side.place.notes()
            if note.at > killed and note.name in held[victim]
        }

    found = wait_until(lambda: again().keys() == held[victim], within_s=LONGEST_S, every_s=0.1)
    return max(again().values()) - killed if found else LONGEST_S


def by(worker: Process, note: Note) -> bool:
    """Return whether a child of this master noted the start."""
    return bool(psutil.Process(note.pid).ppid() == worker.pid)

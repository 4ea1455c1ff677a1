"""The worker threads of one process, as places for claims."""

import threading
from collections import Counter

KEPT = 2
"""Threads that a queue leaves free for each other queue of the process, but not half of all."""


class Capacity:
    """Counts the worker threads that are free: consumers claim for these and for no others.

    A process of several queues keeps `KEPT` threads for each: sends to a platform that hangs do not
    stop the webhooks.
    """

    def __init__(self, threads: int) -> None:
        self.stopping = False
        """The process shuts down: nothing more is claimed."""
        self.threads = threads
        self._changed = threading.Condition()
        self._taken: Counter[str] = Counter()
        self._waiting: set[str] = set()

    def add_queue(self, queue: str) -> None:
        """Keep threads for a queue."""
        with self._changed:
            self._taken.setdefault(queue, 0)

    def wait_free(self, queue: str, timeout_s: float) -> bool:
        """Wait until a thread is free for a queue.

        False when `timeout_s` is over before, or the process stops.
        """
        with self._changed:
            if self._free(queue) > 0:
                return True
            self._waiting.add(queue)
            try:
                self._changed.wait_for(lambda: self.stopping or self._free(queue) > 0, timeout_s)
            finally:
                self._waiting.discard(queue)
            return not self.stopping and self._free(queue) > 0

    def stop(self) -> None:
        """Claim nothing more; who waits for a free thread goes on at once."""
        with self._changed:
            self.stopping = True
            self._changed.notify_all()

    def take(self, queue: str, most: int) -> int:
        """Take up to `most` threads that are free for a queue; return how many."""
        with self._changed:
            taken = max(0, min(self._free(queue), most))
            self._taken[queue] += taken
            return taken

    def give_back(self, queue: str, count: int) -> None:
        """Return threads of a queue that are free again; a negative count takes them."""
        if count:
            with self._changed:
                self._taken[queue] -= count
                if self._waiting:
                    self._changed.notify_all()

    def wanted_beside(self, queue: str) -> bool:
        """Return whether the consumer of another queue waits for a thread."""
        return bool(self._waiting - {queue})

    def _free(self, queue: str) -> int:
        free = self.threads - self._taken.total()
        others = len(self._taken.keys() - {queue})
        if not others:
            return free
        kept = min(KEPT, self.threads // (2 * others))
        return free - sum(
            max(0, kept - taken) for other, taken in self._taken.items() if other != queue
        )

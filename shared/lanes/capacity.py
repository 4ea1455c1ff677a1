"""The worker threads of one process, as places for claims."""

import threading


class Capacity:
    """Counts the worker threads that are free: consumers claim for these and for no others."""

    def __init__(self, threads: int) -> None:
        self.stopping = False
        """The process shuts down: nothing more is claimed."""
        self.threads = threads
        self._free = threads
        self._changed = threading.Condition()
        self._waiting: set[str] = set()

    def wait_free(self, queue: str, timeout_s: float) -> bool:
        """Wait until a thread is free; False when `timeout_s` is over before."""
        with self._changed:
            if self._free > 0:
                return True
            self._waiting.add(queue)
            try:
                return self._changed.wait_for(lambda: self._free > 0, timeout_s)
            finally:
                self._waiting.discard(queue)

    def take(self, most: int) -> int:
        """Take up to `most` free threads; return how many."""
        with self._changed:
            taken = max(0, min(self._free, most))
            self._free -= taken
            return taken

    def give_back(self, count: int) -> None:
        """Return threads that are free again; a negative count takes them."""
        if count:
            with self._changed:
                self._free += count
                if self._waiting:
                    self._changed.notify_all()

    def wanted_beside(self, queue: str) -> bool:
        """Return whether the consumer of another queue waits for a thread."""
        return bool(self._waiting - {queue})

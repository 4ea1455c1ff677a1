"""The messages that wait for the worker threads of a process."""

import time
from queue import PriorityQueue
from typing import Any

STOPPING_POLL_S = 0.05


class WorkQueue(PriorityQueue[Any]):
    """A queue whose waiting threads a stop wakes, so that their timeouts may be long.

    With Dramatiq's own queue, every idle thread looks each second whether the process stops.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stopping = False

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        """Return the next message.

        Raises:
            queue.Empty: there is none; without `block` at once, else after `timeout` s, or as soon
                as `stop` is called.
        """
        if block and self._stopping:
            time.sleep(STOPPING_POLL_S)  # until its thread is told to end
        elif block:
            with self.not_empty:
                self.not_empty.wait_for(lambda: self._qsize() or self._stopping, timeout)
        return super().get(block=False)

    def stop(self) -> None:
        """Wake all threads that wait."""
        with self.not_empty:
            self._stopping = True
            self.not_empty.notify_all()

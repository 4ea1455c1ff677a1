"""The threads of one process. The first that ends by an error ends them all: a supervisor starts the process anew."""

import threading
from collections.abc import Callable
from typing import Any

import structlog

EXIT_SOFTWARE = 70
"""EX_SOFTWARE of sysexits.h: an error of ours."""

LAST_S = 10.0
"""How long a thread may take to end what it is at."""

log = structlog.get_logger()


class SupervisedThreads:
    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._failed = False
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[..., object], *arguments: Any) -> None:
        """Do `work`, which goes on until `stopping`, in a thread of its own."""
        thread = threading.Thread(
            target=self.work, args=(work, *arguments), name=work.__qualname__, daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def work(self, work: Callable[..., object], *arguments: Any) -> None:
        """Do it in this thread."""
        try:
            work(*arguments)
        except Exception:
            log.critical("process.failed", work=work.__qualname__, exc_info=True)
            self._failed = True
            self.stopping.set()

    def end(self) -> int:
        """Wait for every thread to end, each for a while; return the process' exit code."""
        for thread in self._threads:
            thread.join(LAST_S)
        return EXIT_SOFTWARE if self._failed else 0

"""Every queue, the recorder and the clock in one process, for a small installation.

`python -m workers.single [--threads 16]` beside the ingress takes the place of seven processes.
What it cannot do: use more than one core, or restart a part by itself. Any number may run, also
beside processes of single queues.
"""

import argparse
from collections.abc import Callable

from dramatiq import Worker

from shared import logs, processes
from shared.events import QUEUE_NAMES
from shared.redis import connect_durable
from shared.settings import RedisSettings, RetentionSettings, load_settings
from shared.traces import start_traces
from workers.actors import build_contexts
from workers.broker import broker, require_threads, trace_events
from workers.clock.__main__ import start_clock
from workers.context import worker_context
from workers.process import SupervisedThreads, collect_rarely, exit_on_startup_error, on_stop_signal
from workers.pulse import Pulse
from workers.recorder import start_recorder

STOP_MS = 25_000
"""How long events in work may take to end when the process stops, as in the Procfile."""
ROLES = (*QUEUE_NAMES, processes.RECORDER, processes.CLOCK)


class CommonProgress:
    """Counts how often every part has moved: it stands still when one of them does."""

    def __init__(self, *parts: Callable[[], int]) -> None:
        self._parts = parts
        self._seen = [part() for part in parts]
        self._rounds = 0

    def __call__(self) -> int:
        now = [part() for part in self._parts]
        if all(new != old for new, old in zip(now, self._seen, strict=True)):
            self._seen = now
            self._rounds += 1
        return self._rounds


def main() -> int:
    """Run until the process stops; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers.single", description=__doc__)
    parser.add_argument("--threads", type=int, default=16, help="events in work at a time")
    count = parser.parse_args().threads
    threads = SupervisedThreads()
    on_stop_signal(threads.stopping.set)
    with exit_on_startup_error():
        logs.configure_logging("single")
        require_threads(count, "work")
        start_traces("single")
        client = connect_durable(load_settings(RedisSettings))
        build_contexts()
        ctx = worker_context()
        kept = load_settings(RetentionSettings)
    trace_events()
    recorder = start_recorder(threads, client, ctx.database)
    sweeper = start_clock(threads, client, ctx, kept)
    worker = Worker(broker, worker_threads=count)
    worker.start()
    collect_rarely()
    progress = CommonProgress(
        lambda: broker.replies, lambda: recorder.progress, lambda: sweeper.ticks
    )
    with Pulse(client, ROLES, threads=count, progress=progress):
        threads.stopping.wait()
        worker.stop(timeout=STOP_MS)
    broker.close()
    return threads.join()


if __name__ == "__main__":
    raise SystemExit(main())

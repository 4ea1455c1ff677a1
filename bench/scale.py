"""Measure 1, 2 and 4 send processes before a slow platform: `python -m bench.scale`.

Messages are appended as a service does; the platform is a stand-in that answers after half a
second, Supabase another one. `beside` is what the model in `scale_load/model.py` predicts from the
costs of a single process. Latency is from acceptance to the arrival at the platform. Exits with 1
when a target is missed, or a prediction is more than 20 % off.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx

from bench.engine_sides.answers import INTEGRATIONS, NUMBERS
from bench.engine_sides.figures import percentile
from bench.engine_sides.place import REDIS, Place, procfile, wait_until
from bench.engine_sides.played import playing, running
from bench.kept import figure_file
from bench.kept.figure_file import KeptFigure
from bench.kept.page import HEAD, render_figure
from bench.scale_load.model import Costs, Fleet, find_bottleneck, predict_rate, predict_wait_s
from sandbox.ports import LOCALHOST
from shared.events import Message
from shared.producer import Producer
from shared.route_cache import IntegrationRoute, RouteCache

PROCESSES = (1, 2, 4)
ANSWER_S = 0.5
LASTS_S = 8
PEERS = 50
IDLE_MESSAGES, IDLE_PER_S = 120, 8
SHARE = 0.7
MIN_SPEEDUP = 0.9
MAX_ERROR = 0.2
TARGETS_MS = {"idle": (10.0, 40.0), "at 70 % load": (None, 150.0)}


@dataclass
class Sending:
    """A fleet of one place; `platform` is the address of the stand-in."""

    place: Place
    platform: str
    processes: int
    threads: int

    def start(self) -> None:
        RouteCache(self.place.redis, database=None).store_routes(
            [IntegrationRoute.model_validate(each) for each in INTEGRATIONS]
        )
        lines = procfile()
        for name in ("send", "record", "clock"):
            self.place.start(
                lines[name],
                name,
                SEND_PROCESSES=str(self.processes),
                SEND_THREADS=str(self.threads),
            )
        self.producer = Producer.connect(self.place.server.url)
        self.run(4 * self.threads * self.processes, 0.05)

    def run(self, messages: int, answer_s: float, per_s: float = 0.0) -> "Run":
        """Append messages, all at once or at random moments, and wait for the platform."""
        plan = {"hooks": {}, "late_s": answer_s}
        httpx.post(f"{self.platform}/plan", json=plan, trust_env=False).raise_for_status()
        before, appended = self.place.cpu_by_name(), dict[str, float]()
        for number in range(messages):
            if per_s:
                time.sleep(random.expovariate(per_s))
            text = f"Hello, this is your appointment tomorrow at 10:30. {number}"
            integration = NUMBERS[number % len(NUMBERS)]
            peer = number // len(NUMBERS) % PEERS
            message = Message(to=f"+7999000{peer:04}", text=text, integration_id=integration)
            self.producer.send(integration, message, uuid4().hex)
            appended[text] = time.time()
        assert wait_until(lambda: len(self._arrivals()) >= messages, within_s=120), (
            f"{self.processes} processes: {len(self._arrivals())} of {messages} messages arrived"
        )
        arrivals = self._arrivals()
        time.sleep(answer_s + 0.5)
        used = {name: seconds - before[name] for name, seconds in self.place.cpu_by_name().items()}
        return Run(
            sorted(arrivals.values()),
            [1000 * (at - appended[text]) for text, at in arrivals.items()],
            {name: seconds / messages for name, seconds in used.items()},
        )

    def _arrivals(self) -> dict[str, float]:
        ledger = httpx.get(f"{self.platform}/ledger", trust_env=False).json()
        return {message["text"]: message["at"] for message in ledger["messages"]}


@dataclass(frozen=True)
class Run:
    """When messages arrived, how long each took in ms, and CPU seconds of a message by program."""

    arrived: list[float]
    waited_ms: list[float]
    cpu_s: dict[str, float]

    @property
    def rate(self) -> float:
        """Return the rate of the middle 60 %: neither the start nor the end of the backlog."""
        first, last = len(self.arrived) // 5, len(self.arrived) * 4 // 5
        return (last - first) / (self.arrived[last] - self.arrived[first])

    def costs(self, held_s: float) -> Costs:
        beside_s = self.cpu_s["record"] + self.cpu_s["clock"]
        return Costs(self.cpu_s["send"], self.cpu_s[REDIS], beside_s, held_s)


@contextmanager
def sending(processes: int, threads: int) -> Iterator[Sending]:
    with playing() as supabase, running("bench.pipeline_sides.platform") as port:
        platform = f"http://{LOCALHOST}:{port}"
        with Place(SUPABASE_URL=supabase.url, WPP_BASE_URL=platform) as place:
            fleet = Sending(place, platform, processes, threads)
            fleet.start()
            yield fleet


def measure(threads: int) -> list[KeptFigure]:
    with sending(1, threads) as single:
        idle = single.run(IDLE_MESSAGES, 0.05, IDLE_PER_S)
        fleet = Fleet(1, threads, os.cpu_count() or 1, ANSWER_S)
        one = single.run(int(LASTS_S * threads / ANSWER_S), ANSWER_S)
        costs = one.costs(percentile(idle.waited_ms, 0.5) / 1000)
        per_s = SHARE * one.rate
        busy = single.run(int(LASTS_S * per_s), ANSWER_S, per_s)
    figures = list_rates(fleet, costs, one.rate)
    wait_ms = 1000 * predict_wait_s(fleet, costs, per_s, 0.99)
    idle_p99 = percentile(idle.waited_ms, 0.99)
    return [
        *figures,
        *list_latencies("idle", idle, {}),
        *list_latencies("at 70 % load", busy, {"p99": idle_p99 + wait_ms}),
    ]


def list_rates(fleet: Fleet, costs: Costs, one: float) -> list[KeptFigure]:
    """Measure each number of processes; the first is known."""
    figures = []
    for processes in PROCESSES:
        rate = one
        if processes > 1:
            with sending(processes, fleet.threads) as several:
                rate = several.run(
                    int(LASTS_S * processes * fleet.threads / ANSWER_S), ANSWER_S
                ).rate
        larger = Fleet(processes, fleet.threads, fleet.cores, fleet.answer_s)
        predicted = predict_rate(larger, costs)
        missed = rate < MIN_SPEEDUP * processes * one or abs(rate / predicted - 1) > MAX_ERROR
        name = f"{processes} send processes (model: {find_bottleneck(larger, costs)})"
        values = {"ours": rate, "model": predicted}
        figures.append(KeptFigure(name, "msgs/s", values, more=True, missed=missed))
    return figures


def list_latencies(when: str, run: Run, predicted: dict[str, float]) -> list[KeptFigure]:
    figures = []
    for (name, share), target in zip((("p50", 0.5), ("p99", 0.99)), TARGETS_MS[when], strict=True):
        ms = percentile(run.waited_ms, share)
        values = {"ours": ms} | ({"model": predicted[name]} if name in predicted else {})
        missed = target is not None and ms > target
        figures.append(KeptFigure(f"{when}: to the platform, {name}", "ms", values, missed=missed))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-fail", action="store_true", help="exit with 0 in any case")
    parser.add_argument("--threads", type=int, default=32, help="of a process")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    figures = measure(given.threads)
    print("\n".join([HEAD, *(render_figure(figure, None) for figure in figures)]))
    if given.json:
        figure_file.write(given.json, figures)
    if not given.no_fail:
        sys.exit(any(figure.missed for figure in figures))


if __name__ == "__main__":
    main()

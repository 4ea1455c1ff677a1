"""Measure the ingress, one process and 64 connections: `python -m bench.ingress [--messages N]`.

Accepted messages a second beside a plain FastAPI route that enqueues with `actor.send`, each with a
durable Redis of its own, in turns; then what each kind of request costs. Nothing is sent: no worker
runs. Exits with 1 when a target is missed. For arriving events see `bench.webhooks`.
"""

import argparse
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bench.engine_sides.answers import INTEGRATIONS
from bench.engine_sides.figures import Figure, percentile, table
from bench.engine_sides.place import MADE_UP, Place, wait_until
from bench.kept import figure_file
from bench.pipeline_sides.load import Sent, Task
from bench.pipeline_sides.world import send
from bench.webhook_load.servers import UVICORN
from sandbox.ports import LOCALHOST, free_port
from sandbox.processes import responds_ok
from shared import signed_keys
from shared.route_cache import IntegrationRoute, RouteCache
from tests.fixtures.service_keys import copy_key

ROUNDS = 3
CONNECTIONS = 64
PEERS = 50
WARM_UP = 300
MIN_TIMES = 4
NO_QUOTAS = dict.fromkeys(
    ("WPP_KEY_QUOTA", "WPP_FAILURE_QUOTA", "WPP_ADDRESS_QUOTA", "WPP_WEBHOOK_QUOTA"), "0"
)
ACCOUNT = str(INTEGRATIONS[0]["account"])


@dataclass(frozen=True)
class Rate:
    """Accepted requests a second, CPU µs of the process for each, and ms of the answers."""

    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


@dataclass
class Server:
    """An ingress on a Redis of its own, without workers."""

    place: Place
    command: str
    path: str
    senders: list[tuple[str, dict[str, str]]]
    health: str = "/health"

    def __post_init__(self) -> None:
        port = free_port()
        self.url = f"http://{LOCALHOST}:{port}"
        self.place.start(f"{self.command} --port {port}", STOCK_API_KEY="stock", **NO_QUOTAS)
        assert wait_until(lambda: responds_ok(self.url + self.health), 180), (
            f"{self.command}: it is not ready"
        )

    def load(self, messages: int, path: str = "", *, answers: int = 2) -> Rate:
        """Send messages over 64 connections; each has to be answered with 2xx, or with 4xx."""
        url = f"{self.url}{path or self.path}"
        task = Task(url, self.senders, uuid4().hex[:8], messages, PEERS, connections=CONNECTIONS)
        before = self.place.cpu_by_name()
        sent = send(task)
        after = self.place.cpu_by_name()
        refused = [each for each in sent if each.accepted != (answers == 2)]
        assert not refused, f"{self.command}: {len(refused)} of {messages} unexpected answers"
        cpu_s = sum(after.values()) - sum(before.values()) - (after["redis"] - before["redis"])
        return _rate(sent, 1e6 * cpu_s / messages)


def _rate(sent: list[Sent], cpu_us: float) -> Rate:
    took = max(each.answered for each in sent) - min(each.began for each in sent)
    waits = [1000 * (each.answered - each.began) for each in sent]
    return Rate(len(sent) / took, cpu_us, percentile(waits, 0.5), percentile(waits, 0.99))


def start_ours(place: Place) -> Server:
    """Start our ingress with routes and service keys in Redis: Supabase is not asked."""
    routes = [IntegrationRoute.model_validate(each) for each in INTEGRATIONS]
    RouteCache(place.redis, database=None).store_routes(routes)
    keys = [copy_key(place.redis, route.organization_id) for route in routes]
    senders: list[tuple[str, dict[str, str]]] = [
        (f"Authorization: Bearer {key}", {}) for key in keys
    ]
    return Server(place, "python -m workers.ingress", "/v1/messages", senders)


def start_naive(place: Place) -> Server:
    app = f"{UVICORN} bench.pipeline_sides.stock_dramatiq:app"
    fields = [{"organization_id": str(each["organization_id"])} for each in INTEGRATIONS]
    senders = [("Authorization: Bearer stock", each) for each in fields]
    return Server(place, app, "/messages", senders, "/ready")


def measure(messages: int) -> list[Figure]:
    """Measure both in turns; then what kinds of requests cost ours and the naive app."""
    with Place() as here, Place() as there:
        ours, naive = start_ours(here), start_naive(there)
        for server in (ours, naive):
            server.load(WARM_UP)
        rounds = [(ours.load(messages), naive.load(messages)) for _ in range(ROUNDS)]
        return [*list_rates(rounds), *list_costs(ours, naive, messages // 2)]


def list_rates(rounds: list[tuple[Rate, Rate]]) -> list[Figure]:
    def medians(name: str) -> tuple[float, float]:
        first, second = (
            statistics.median(getattr(rate, name) for rate in side)
            for side in zip(*rounds, strict=True)
        )
        return first, second

    rates = medians("per_s")
    return [
        Figure("messages accepted", "/s", *rates, MIN_TIMES * rates[1], more=True),
        Figure("a message: CPU of the process", "µs", *medians("cpu_us")),
        Figure("a message: answer, p50", "ms", *medians("p50_ms")),
        Figure("a message: answer, p99", "ms", *medians("p99_ms")),
    ]


def list_costs(ours: Server, naive: Server, requests: int) -> list[Figure]:
    """Measure what a request costs before it is a message: the steps are differences of these."""
    key = signed_keys.make_webhook_key(ACCOUNT, [MADE_UP["WPP_KEY_SECRETS"].encode()])
    steps = {
        "unknown path (server, middleware)": ("/nothing", "/nothing", 4),
        "webhook with a wrong key": (f"/webhooks/wpp/{ACCOUNT}/wrong", "/nothing", 4),
        "event (a webhook with the right key)": (
            f"/webhooks/wpp/{ACCOUNT}/{key}",
            f"/webhooks/{ACCOUNT}",
            2,
        ),
        "message checked, not accepted (dry run)": ("/v1/messages?dry_run=true", "/messages", 2),
    }
    return [
        Figure(
            f"CPU: {what}",
            "µs",
            ours.load(requests, here, answers=answers).cpu_us,
            naive.load(requests, there, answers=answers).cpu_us,
        )
        for what, (here, there, answers) in steps.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=3_000)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--no-fail", action="store_true", help="exit with 0 in any case")
    given = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    figures = measure(given.messages)
    print(table(figures).replace("stock", "naive", 1))
    print(f"load after: {os.getloadavg()[0]:.1f}")
    if given.json:
        figure_file.write(given.json, figures)
    if not given.no_fail:
        sys.exit(any(figure.missed for figure in figures))


if __name__ == "__main__":
    main()

"""GET /metrics: how much waits and what is in the way, for Prometheus and for whoever has the token.

Without tenants: their names are nobody else's business, and too many for labels (`wpp lanes` tells them). All of it is
read from Redis in a handful of commands, whatever waits.
"""

import time
from collections.abc import Iterator
from http import HTTPStatus
from secrets import compare_digest
from typing import Any

import redis
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.events import QUEUE_NAMES
from shared.lanes.client import total_waiting
from shared.outbox import Outbox
from shared.redis import keys
from workers.ingress.errors import problem


def routes(token: SecretStr | None, client: "redis.Redis") -> list[Route]:
    """Return the route, if there is a token to ask for: otherwise there is none."""
    if token is None:
        return []
    registry = CollectorRegistry()
    registry.register(Metrics(client))
    expected = f"Bearer {token.get_secret_value()}".encode()

    async def metrics(request: Request) -> Response:
        if not compare_digest(request.headers.get("Authorization", "").encode(), expected):
            return problem(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                "this takes WPP_METRICS_TOKEN as its bearer",
            )
        return Response(
            await run_in_threadpool(generate_latest, registry), media_type=CONTENT_TYPE_LATEST
        )

    return [Route("/metrics", metrics)]


class Metrics(Collector):
    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def describe(self) -> list[GaugeMetricFamily]:
        return []  # what there is, is known when it is asked for: Redis may be away when the process starts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Look once; raises redis.RedisError."""
        waiting = total_waiting(self._client, QUEUE_NAMES)
        yield _by_kind(
            "wpp_events_waiting",
            "Events in lanes",
            {k: sum(each.values()) for k, each in waiting.items()},
        )
        yield _by_kind(
            "wpp_events_working",
            "Events that workers have in hand",
            {k: self._busy(k) for k in QUEUE_NAMES},
        )
        tenants = {tenant for each in waiting.values() for tenant in each}
        yield GaugeMetricFamily("wpp_tenants_waiting", "Tenants with events in lanes", len(tenants))
        yield from self._outbox()
        odd = sum(int(count) for count in self._values(keys.UNRECOGNIZED_EVENTS))
        yield GaugeMetricFamily(
            "wpp_odd_events", "Posted events of a type that is not known, or that were none", odd
        )
        if swept_ms := self._client.get(keys.LAST_SWEEP):
            age_s = max(0.0, time.time() - int(swept_ms) / 1000)
            yield GaugeMetricFamily(
                "wpp_clock_age_seconds",
                "Since a clock last swept; more than a few: none runs",
                age_s,
            )
        memory: dict[str, Any] = self._client.info("memory")
        yield GaugeMetricFamily("wpp_redis_bytes", "Memory that Redis uses", memory["used_memory"])
        yield GaugeMetricFamily(
            "wpp_redis_limit_bytes", "Memory that it may use; 0 is no limit", memory["maxmemory"]
        )

    def _outbox(self) -> Iterator[GaugeMetricFamily]:
        outbox = Outbox(self._client, consumer="")
        age_s = outbox.age_s() or 0.0
        yield GaugeMetricFamily(
            "wpp_outbox_outcomes", "Outcomes on their way to Supabase", len(outbox)
        )
        yield GaugeMetricFamily(
            "wpp_outbox_age_seconds", "How long the oldest of them has been on its way", age_s
        )
        trouble = int(outbox.blocked_reason is not None)
        yield GaugeMetricFamily(
            "wpp_outbox_trouble", "1 while Supabase takes none of them", trouble
        )

    def _busy(self, kind: str) -> int:
        return sum(int(count) for count in self._values(keys.in_flight(kind)))

    def _values(self, key: str) -> list[bytes]:
        found: Any = self._client.hvals(key)
        return list(found)


def _by_kind(name: str, what: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=["kind"])
    for kind, value in values.items():
        family.add_metric([kind], value)
    return family

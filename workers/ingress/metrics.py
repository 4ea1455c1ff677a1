"""GET /metrics for Prometheus: backlog, work in flight, outbox, clock and Redis memory.

No metric has a tenant label: there are too many tenants for labels, and the reader of the metrics
need not know them (`wpp lanes` lists them). A scrape costs a fixed number of Redis commands.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from secrets import compare_digest
from typing import Any

import redis
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared import metrics as counted
from shared import processes
from shared.events import QUEUE_NAMES
from shared.lanes.records import count_scheduled, total_waiting
from shared.number_states import NumberStates
from shared.outbox import Outbox, count_left
from shared.redis import keys
from workers.ingress.errors import problem

PACING = (
    ("wpp_paced_numbers", "Numbers with messages that wait their turn", "paced|numbers"),
    ("wpp_paced_messages", "Messages that wait their turn", "paced|messages"),
    (
        "wpp_warm_up_budget_left",
        "New people to whom the numbers in warm-up that wrote today may still write today",
        "warm_up|left",
    ),
    (
        "wpp_warm_up_numbers_used_up",
        "Numbers in warm-up whose messages to new people wait for the next day",
        "warm_up|used_up",
    ),
)
"""Name, text, and field of `keys.GAUGES`."""


def build_routes(
    token: SecretStr | None,
    client: "redis.Redis",
    outbox_limit: int = 0,
    shards: Mapping[str, "redis.Redis"] | None = None,
) -> list[Route]:
    """Return the route of the metrics, or no route without a token to protect it.

    With `shards`, clients by name, each metric has the label `shard`.
    """
    if token is None:
        return []
    registry = CollectorRegistry()
    parts = {name: PipelineCollector(each, outbox_limit) for name, each in (shards or {}).items()}
    registry.register(ShardCollector(parts) if parts else PipelineCollector(client, outbox_limit))
    expected = f"Bearer {token.get_secret_value()}".encode()

    async def get_metrics(request: Request) -> Response:
        if not compare_digest(request.headers.get("Authorization", "").encode(), expected):
            detail = (
                "Missing or invalid credentials: send `Authorization: Bearer <WPP_METRICS_TOKEN>`."
            )
            return problem(
                HTTPStatus.UNAUTHORIZED, "unauthorized", detail, WWW_Authenticate="Bearer"
            )
        return Response(
            await run_in_threadpool(generate_latest, registry), media_type=CONTENT_TYPE_LATEST
        )

    return [Route("/metrics", get_metrics)]


class PipelineCollector(Collector):
    """Reads all metrics from Redis at each scrape."""

    def __init__(self, client: "redis.Redis", outbox_limit: int = 0) -> None:
        self._client = client
        self._outbox_limit = outbox_limit

    def describe(self) -> list[Metric]:
        """Return no names, so that registering works while Redis is not reachable."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read Redis once; raises redis.RedisError."""
        yield from self._lanes()
        yield from self._outbox()
        yield from self._counted()
        yield from self._measured()
        changes: Any = self._client.hgetall(keys.BREAKER_CHANGES)
        family = CounterMetricFamily(
            "wpp_circuit_breaker_changes",
            "Circuit breakers that opened or closed, of an account or of the platform",
            labels=["scope", "change"],
        )
        for name, count in changes.items():
            family.add_metric(name.decode().split(), int(count))
        yield family
        limited: Any = self._client.scard(keys.RATE_LIMITED)
        yield GaugeMetricFamily(
            "wpp_rate_limited_integrations", "Integrations that the platform limits (429)", limited
        )
        refused: Any = self._client.hgetall(keys.REFUSED_REQUESTS)
        family = CounterMetricFamily(
            "wpp_requests_limited",
            "Requests that were refused with 429, by the limit of the ingress",
            labels=["limit"],
        )
        for name, count in refused.items():
            family.add_metric([name.decode()], int(count))
        yield family
        unrecognized: Any = self._client.hgetall(keys.UNRECOGNIZED_EVENTS)
        types = CounterMetricFamily(
            "wpp_unrecognized_events",
            "Webhook events that are not understood, by type, and malformed webhook bodies",
            labels=["type"],
        )
        for name, count in unrecognized.items():
            types.add_metric([name.decode(errors="replace")], int(count))
        yield types
        yield _by_kind(
            "wpp_lost_events",
            "Events that could not be handled because their record in Redis is missing",
            self._lost_events(),
            CounterMetricFamily,
        )
        if swept_ms := self._client.get(keys.LAST_SWEEP):
            age_s = max(0.0, time.time() - int(swept_ms) / 1000)
            yield GaugeMetricFamily(
                "wpp_clock_age_seconds",
                "Seconds since the clock last swept the lanes; a few seconds while it runs",
                age_s,
            )
        memory: dict[str, Any] = self._client.info("memory")
        yield GaugeMetricFamily("wpp_redis_bytes", "Memory that Redis uses", memory["used_memory"])
        yield GaugeMetricFamily(
            "wpp_redis_limit_bytes", "Memory limit of Redis; 0 means no limit", memory["maxmemory"]
        )

    def _counted(self) -> Iterator[Metric]:
        """What all processes counted."""
        for name, values in counted.read(self._client):
            known = counted.COUNTED[name]
            if known.buckets:
                yield _histogram(name, known, values)
                continue
            labels = [known.label] if known.label else []
            family = CounterMetricFamily(name, known.text, labels=labels)
            for label, value in (values or ({} if known.label else {"": 0.0})).items():
                family.add_metric([label] if known.label else [], value)
            yield family

    def _measured(self) -> Iterator[Metric]:
        """What the clock and the recorders measure."""
        stored: Any = self._client.hgetall(keys.GAUGES)
        found = {name.decode(): float(value) for name, value in stored.items()}
        ages = {kind: found.get(f"oldest|{kind}", 0.0) for kind in QUEUE_NAMES}
        yield _by_kind(
            "wpp_oldest_event_seconds", "Age of the oldest event that is not settled", ages
        )
        yield GaugeMetricFamily(
            "wpp_unknown_messages", "Messages with an unknown delivery", found.get("unknown", 0.0)
        )
        yield GaugeMetricFamily(
            "wpp_dead_letters", "Dead letters that were not replayed", found.get("dead", 0.0)
        )
        yield GaugeMetricFamily(
            "wpp_platform_circuit_breaker_open",
            "1 while calls to the platform are stopped",
            found.get("breaker|platform", 0.0),
        )
        callbacks = GaugeMetricFamily(
            "wpp_callbacks", "Callbacks that work, fail or were disabled", labels=["state"]
        )
        for state in ("works", "failing", "disabled"):
            callbacks.add_metric([state], found.get(f"callbacks|{state}", 0.0))
        yield callbacks
        yield GaugeMetricFamily(
            "wpp_callback_oldest_due_seconds",
            "Age of the oldest event that is due to a callback and was not posted",
            max(found.get("callbacks|oldest_due_s", 0.0), ages["callback"]),
        )
        for name, text, field in PACING:
            yield GaugeMetricFamily(name, text, found.get(field, 0.0))
        numbers = GaugeMetricFamily("wpp_numbers", "Numbers, by their state", labels=["state"])
        for state, count in NumberStates(self._client).count().items():
            numbers.add_metric([state], count)
        yield numbers
        gates: Any = self._client.hkeys(keys.CLOSED_GATES)
        yield GaugeMetricFamily("wpp_closed_gates", "Gates that are closed", len(gates))
        pipe = self._client.pipeline(transaction=False)
        for gate in gates:
            pipe.scard(keys.gated_lanes(gate.decode()))
        yield GaugeMetricFamily(
            "wpp_lanes_held", "Lanes that wait at a closed gate", sum(pipe.execute())
        )
        yield self._processes()

    def _processes(self) -> Metric:
        at_ms = processes.now_ms(self._client)
        running = GaugeMetricFamily(
            "wpp_processes", "Processes that report and make progress, by role", labels=["role"]
        )
        counts = Counter(
            role
            for each in processes.list_processes(self._client, at_ms)
            for role in each.roles
            if each.silent_s(at_ms) <= processes.SILENT_S and each.stalled_s < processes.STALLED_S
        )
        for role in (*processes.CONSUMERS, processes.WEB):
            running.add_metric([role], counts[role])
        return running

    def _lanes(self) -> Iterator[Metric]:
        waiting = total_waiting(self._client, QUEUE_NAMES)
        yield _by_kind(
            "wpp_events_waiting",
            "Events that are not settled, in flight or not",
            {kind: sum(tenants.values()) for kind, tenants in waiting.items()},
        )
        yield GaugeMetricFamily(
            "wpp_scheduled_messages",
            "Messages that wait for their date",
            count_scheduled(self._client),
        )
        yield _by_kind(
            "wpp_events_in_flight",
            "Events that a worker is handling",
            {kind: sum(map(int, self._values(keys.in_flight(kind)))) for kind in QUEUE_NAMES},
        )
        yield _by_kind(
            "wpp_bytes_waiting",
            "Bytes of the events that are not settled, and of the files beside them",
            {kind: sum(map(int, self._values(keys.waiting_bytes(kind)))) for kind in QUEUE_NAMES},
        )
        yield _by_kind(
            "wpp_awaiting_newer_processes",
            "Lanes, and outcomes, that wait for a process of a newer version",
            count_left(self._client),
        )
        waiting_tenants = {tenant for tenants in waiting.values() for tenant in tenants}
        yield GaugeMetricFamily(
            "wpp_tenants_waiting", "Tenants with events that are not settled", len(waiting_tenants)
        )

    def _outbox(self) -> Iterator[Metric]:
        outbox = Outbox(self._client)
        yield GaugeMetricFamily(
            "wpp_outbox_outcomes", "Outcomes that are not yet written to Supabase", len(outbox)
        )
        yield GaugeMetricFamily(
            "wpp_outbox_limit_outcomes",
            "WPP_OUTBOX_LIMIT: with so many, requests get 503",
            self._outbox_limit,
        )
        yield GaugeMetricFamily(
            "wpp_outbox_age_seconds", "Age of the oldest of these outcomes", outbox.age_s() or 0.0
        )
        blocked = int(outbox.blocked_reason is not None)
        yield GaugeMetricFamily(
            "wpp_outbox_blocked", "1 while Supabase accepts no outcome at all", blocked
        )

        set_aside = outbox.set_aside
        yield GaugeMetricFamily(
            "wpp_organizations_set_aside",
            "Organizations whose outcomes Supabase cannot take at present",
            len(set_aside),
        )
        yield GaugeMetricFamily(
            "wpp_outcomes_set_aside",
            "Outcomes of these organizations, which wait in Supabase",
            sum(each.waiting for each in set_aside),
        )

    def _lost_events(self) -> dict[str, int]:
        counts: Any = self._client.hgetall(keys.LOST_EVENT_COUNTS)
        return {kind: int(counts.get(kind.encode(), 0)) for kind in QUEUE_NAMES}

    def _values(self, key: str) -> list[bytes]:
        values: Any = self._client.hvals(key)
        return list(values)


class ShardCollector(Collector):
    """The metrics of all shards that answer, with the label `shard`."""

    def __init__(self, parts: Mapping[str, PipelineCollector]) -> None:
        self._parts = parts

    def describe(self) -> list[Metric]:
        """Return no names, as `PipelineCollector` does."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read each shard once."""
        families: dict[str, Metric] = {}
        answers = GaugeMetricFamily(
            "wpp_shard_answers", "1 while a shard answers", labels=["shard"]
        )
        for shard, part in self._parts.items():
            try:
                found = list(part.collect())
            except redis.RedisError:
                found = []
            answers.add_metric([shard], float(bool(found)))
            for family in found:
                known = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {**sample.labels, "shard": shard}
                    known.add_sample(sample.name, labels, sample.value)
        yield answers
        yield from families.values()


def _histogram(name: str, known: counted.Counted, values: dict[str, float]) -> Metric:
    total = 0.0
    buckets = []
    for limit in (*(f"{each:g}" for each in known.buckets), "+Inf"):
        total += values.get(limit, 0.0)
        buckets.append((limit, total))
    return HistogramMetricFamily(name, known.text, buckets=buckets, sum_value=values.get("sum", 0))


def _by_kind(
    name: str,
    documentation: str,
    values: Mapping[Any, float],
    metric_type: type[GaugeMetricFamily | CounterMetricFamily] = GaugeMetricFamily,
) -> Metric:
    family = metric_type(name, documentation, labels=["kind"])
    for kind, value in values.items():
        family.add_metric([kind], value)
    return family

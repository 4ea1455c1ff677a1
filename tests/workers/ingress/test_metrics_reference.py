"""docs/metrics.md has every metric of a scrape: its type, its label and what it says."""

import re

import redis
from prometheus_client.core import Metric

from shared import metrics as counted
from shared.redis import keys
from tests.fixtures.metrics_docs import documented
from workers.ingress import metrics

LABELED = {
    keys.BREAKER_CHANGES: "account opened",
    keys.REFUSED_REQUESTS: "address",
    keys.UNRECOGNIZED_EVENTS: "poll.created",
    keys.NUMBER_STATES: "account",
}
"""Hashes whose fields become labels: without a field, a scrape shows no label."""


def scrape(client: redis.Redis) -> list[Metric]:
    for name, field in LABELED.items():
        client.hset(name, field, "1 connected up" if name == keys.NUMBER_STATES else 1)
    client.set(keys.LAST_SWEEP, 1)
    for name, known in counted.COUNTED.items():
        if known.buckets:
            counted.observe(name, 1)
        else:
            counted.count(name, "send" if known.label else None)
    counted.flush(client)
    return list(metrics.PipelineCollector(client).collect())


def labels_of(metric: Metric) -> set[str]:
    return {label for sample in metric.samples for label in sample.labels} - {"le"}


def exposed(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def test_the_table_and_a_scrape_agree(redis_client: redis.Redis) -> None:
    """Names, types and labels; each name once."""
    found = scrape(redis_client)
    names = [exposed(metric) for metric in found]
    assert len(names) == len(set(names)) == len({metric.name for metric in found})
    assert documented() == {
        exposed(metric): (metric.type, ", ".join(sorted(labels_of(metric)))) for metric in found
    }


def test_names_follow_the_conventions(redis_client: redis.Redis) -> None:
    """Base units, and `_total` for counters alone."""
    for metric in scrape(redis_client):
        name = exposed(metric)
        assert re.fullmatch(r"wpp_[a-z_]+", name)
        assert name.endswith("_total") == (metric.type == "counter")
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", name)
        if metric.type == "histogram":
            assert name.endswith("_seconds")


def test_a_histogram_adds_up(redis_client: redis.Redis) -> None:
    """Buckets are cumulative; two processes add to the same sums."""
    counted.flush(redis_client)  # what earlier tests of this process counted
    redis_client.delete(keys.METRICS)
    for seconds in (0.01, 0.3, 100_000):
        counted.observe("wpp_message_sent_seconds", seconds)
        counted.flush(redis_client)
    (metric,) = [
        each
        for each in metrics.PipelineCollector(redis_client).collect()
        if each.name == "wpp_message_sent_seconds"
    ]
    values = {sample.labels.get("le", sample.name): sample.value for sample in metric.samples}
    assert (values["0.05"], values["0.25"], values["0.5"], values["+Inf"]) == (1, 1, 2, 3)
    assert values["wpp_message_sent_seconds_sum"] == 100_000.31

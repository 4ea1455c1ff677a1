"""Alert rules and the dashboard name metrics that exist, in expressions that Prometheus reads."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import redis
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from tests.fixtures.metrics_docs import documented
from tests.fixtures.promtool import needs_promtool, promtool
from workers.ingress.metrics import PipelineCollector

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "alerts.yml"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DEPLOY / "dashboard.json").read_text())["panels"]
    return found


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def test_every_metric_that_they_name_exists() -> None:
    known = {
        name
        for metric, (kind, _) in documented().items()
        for name in (
            [f"{metric}_{part}" for part in ("bucket", "sum", "count")]
            if kind == "histogram"
            else [metric]
        )
    }
    named = {name for each in expressions() for name in re.findall(r"wpp_[a-z_]+", each)}
    assert named
    assert named <= known


def test_every_alert_says_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"]
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))


def test_the_panels_do_not_overlap() -> None:
    places = [
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"])
        for panel in panels()
        for dx in range(panel["gridPos"]["w"])
    ]
    assert len(places) == len(set(places))


@needs_promtool
def test_prometheus_reads_the_rules() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(RULES))


@needs_promtool
def test_prometheus_reads_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    """As rules, since `promtool` reads no dashboards."""
    recorded = [
        {"record": f"panel:{number}", "expr": each.replace("$__rate_interval", "5m")}
        for number, each in enumerate(expressions())
    ]
    path = tmp_path / "dashboard.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    promtool("check", "rules", str(path))


LABEL_VALUES = {
    "kind": ["send", "webhook"],
    "state": ["failing", "disabled", "disconnected", "connected"],
    "role": ["send"],
    "result": ["given_up"],
    "le": ["1", "+Inf"],
}
"""Those that the expressions ask for."""


def make_series(**target: str) -> list[dict[str, str]]:
    """Return every metric of one scrape, as input of `promtool`: counters and buckets grow."""
    found = []
    for metric, (kind, label_name) in documented().items():
        is_histogram = kind == "histogram"
        name, label = (f"{metric}_bucket", "le") if is_histogram else (metric, label_name)
        for number, value in enumerate(LABEL_VALUES.get(label, [""]), 3):
            labels = {**target, **({label: value} if value else {})}
            text = ", ".join(f'{key}="{each}"' for key, each in labels.items())
            step = "{}x120" if kind == "gauge" else "0+{}x120"
            found.append({"series": f"{name}{{{text}}}", "values": step.format(number)})
    return found


def without_limit(expression: str) -> str:
    """Return an expression with the value that an alert compares, instead of the comparison."""
    return re.sub(r" (>|==) ([0-9.]+|\(.*\))", "", expression)


def only(expression: str, selector: str) -> str:
    """Return an expression that reads only the series of a selector."""
    return re.sub(
        r"(wpp_[a-z_]+)(\{?)",
        lambda found: f"{found[1]}{{{selector}" + (", " if found[2] else "}"),
        expression,
    )


def check_values(
    path: Path, inputs: list[dict[str, str]], pairs: Iterable[tuple[str, str]]
) -> None:
    """Check by `promtool` that both expressions of a pair have values, and the same."""
    empty = [
        check
        for left, right in pairs
        for check in (
            f"absent({left})",
            f"({left}) unless ({right})",
            f"({right}) unless ({left})",
            f"abs(({left}) - ({right})) > 0.001",
        )
    ]
    test = {
        "interval": "1m",
        "input_series": inputs,
        "promql_expr_test": [
            {"expr": each, "eval_time": "100m", "exp_samples": []} for each in empty
        ],
    }
    path.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))
    promtool("test", "rules", str(path))


def plain_expressions() -> list[str]:
    """Return the values that alerts and panels look at; that of `absent` is none."""
    found = [without_limit(each).replace("$__rate_interval", "5m") for each in expressions()]
    return [each for each in found if not each.startswith("absent")]


@needs_promtool
def test_a_second_web_process_changes_no_value(tmp_path: Path) -> None:
    """Each of them serves the whole pipeline, so a sum over them would be twice as much."""
    inputs = [
        *make_series(instance="10.0.0.1:8000", pod="web-1", node="a"),
        *make_series(instance="10.0.0.2:8000", pod="web-2", node="b"),
    ]
    pairs = [(each, only(each, 'pod="web-1"')) for each in plain_expressions()]
    check_values(tmp_path / "test.yml", inputs, pairs)


@needs_promtool
def test_what_shards_count_is_added(tmp_path: Path) -> None:
    """Of two web processes that serve the same two shards."""
    inputs = [
        series
        for pod in ("web-1", "web-2")
        for shard in ("a", "b")
        for series in make_series(pod=pod, shard=shard)
    ]
    first = 'shard="a"'
    sums = [each for each in plain_expressions() if each.startswith("sum") and " / " not in each]
    assert sums
    pairs = [(each, f"2 * ({only(each, first)})") for each in sums]
    check_values(tmp_path / "test.yml", inputs, pairs)


@needs_promtool
def test_a_fault_of_one_shard_is_an_alert(tmp_path: Path) -> None:
    """Although another shard is well: its clock runs, its memory has room, its gates are closed."""
    values = {
        "wpp_clock_age_seconds": {"a": 1, "b": 300},
        "wpp_redis_bytes": {"a": 10, "b": 95},
        "wpp_redis_limit_bytes": {"a": 1000, "b": 100},
        'wpp_oldest_event_seconds{kind="send"}': {"a": 5, "b": 2000},
        "wpp_closed_gates": {"a": 3, "b": 0},
    }
    inputs = [
        {"series": only(name, f'shard="{shard}"'), "values": f"{value}x30"}
        for name, by_shard in values.items()
        for shard, value in by_shard.items()
    ]
    firing = 'count by (alertname) (ALERTS{alertstate="firing", alertname!~"WppDown"})'
    expected = ["WppClockStopped", "WppMessagesLate", "WppRedisNearlyFull"]
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in expected]
    test = {
        "interval": "1m",
        "input_series": inputs,
        "promql_expr_test": [{"expr": firing, "eval_time": "20m", "exp_samples": samples}],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [test]}))
    promtool("test", "rules", str(path))


@needs_promtool
def test_prometheus_finds_no_fault_with_a_scrape(redis_client: redis.Redis) -> None:
    registry = CollectorRegistry()
    registry.register(PipelineCollector(redis_client))
    promtool("check", "metrics", given=generate_latest(registry))

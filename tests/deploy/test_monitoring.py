"""Alert rules and the dashboard name metrics that exist, in expressions that Prometheus reads."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from tests.fixtures.metrics_docs import documented
from workers.ingress.metrics import PipelineCollector

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "alerts.yml"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    not PROMTOOL and "CI" not in os.environ, reason="promtool is not installed"
)


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


def promtool(*arguments: str, given: bytes = b"") -> str:
    done = subprocess.run(
        [PROMTOOL or "promtool", *arguments],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout.decode()
    return done.stdout.decode()


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


@needs_promtool
def test_prometheus_finds_no_fault_with_a_scrape(redis_client: redis.Redis) -> None:
    registry = CollectorRegistry()
    registry.register(PipelineCollector(redis_client))
    promtool("check", "metrics", given=generate_latest(registry))

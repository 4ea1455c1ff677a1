"""The manifest for Kubernetes is valid, and runs what the Procfile runs."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.test_consistency import procfile

MANIFEST = Path(__file__).parents[2] / "deploy" / "kubernetes.yaml"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))
CONTAINERS = {
    each["metadata"]["name"].removeprefix("wpp-"): each["spec"]["template"]["spec"]["containers"][0]
    for each in OBJECTS
    if each["kind"] == "Deployment"
}


@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_each_object_fits_its_schema(version: str) -> None:
    for each in OBJECTS:
        kubernetes_validate.validate(each, version, strict=True)


def test_each_process_of_the_procfile_has_a_deployment() -> None:
    assert CONTAINERS.keys() == procfile().keys()
    for name, command in procfile().items():
        program = command.split(" --processes")[0].split(" --host")[0].split()
        assert CONTAINERS[name]["command"][: len(program)] == program


def test_only_processes_that_call_the_platform_have_its_secret() -> None:
    """Strangers reach `web`: it never holds the platform's secret."""
    with_secret = {
        name
        for name, each in CONTAINERS.items()
        if {"secretRef": {"name": "wpp-platform"}} in each["envFrom"]
    }
    assert with_secret == CONTAINERS.keys() - {"web", "record"}


def test_each_process_is_probed() -> None:
    for name, each in CONTAINERS.items():
        probe = each["livenessProbe"]
        if name == "web":
            assert probe["httpGet"]["path"] == "/health"
            assert each["readinessProbe"]["httpGet"]["path"] == "/ready"
        else:
            assert probe["exec"]["command"] == ["python", "-m", "workers.health", name]

"""The manifest for Kubernetes is valid, and runs what the Procfile runs."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.test_consistency import procfile
from workers.cli.settings_checks import check_names

MANIFEST = Path(__file__).parents[2] / "deploy" / "kubernetes.yaml"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))
PODS: dict[str, dict[str, Any]] = {
    each["metadata"]["name"].removeprefix("wpp-"): each["spec"]["template"]["spec"]
    for each in OBJECTS
    if each["kind"] == "Deployment"
}
CONTAINERS = {name: pod["containers"][0] for name, pod in PODS.items()}


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


def list_service_links() -> list[str]:
    """Return the variables that Kubernetes gives to each pod with service links, its default."""
    names = []
    for each in OBJECTS:
        if each["kind"] == "Service":
            prefix = each["metadata"]["name"].upper().replace("-", "_")
            names += [f"{prefix}_SERVICE_HOST", f"{prefix}_SERVICE_PORT", f"{prefix}_PORT"]
            names += [f"{prefix}_PORT_{port['port']}_TCP" for port in each["spec"]["ports"]]
    return names


@pytest.mark.parametrize("name", PODS)
def test_the_doctor_finds_no_unknown_variable(name: str) -> None:
    """Kubernetes adds none, and each name of the settings is known."""
    [settings] = [each["data"] for each in OBJECTS if each["kind"] == "ConfigMap"]
    links = list_service_links() if PODS[name].get("enableServiceLinks", True) else []
    found = check_names([*settings, *links])
    assert [each.detail for each in found if each.result != "ok"] == []

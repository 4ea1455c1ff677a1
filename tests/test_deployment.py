"""The container deployment gives each process what it needs, and nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.logs import LogSettings
from shared.settings import (
    CallbackSettings,
    EngineSettings,
    IngressSettings,
    KeySettings,
    MediaSettings,
    PageSettings,
    PlatformSettings,
    RedisSettings,
    RetentionSettings,
    SettingsGroup,
    SupabaseSettings,
    TraceSettings,
)

ROOT = Path(__file__).parent.parent
WORKER = (
    RedisSettings,
    LogSettings,
    TraceSettings,
    SupabaseSettings,
    PlatformSettings,
    KeySettings,
    EngineSettings,
    MediaSettings,
    CallbackSettings,
)
GROUPS: dict[str, tuple[type[SettingsGroup], ...]] = {
    "web": (
        RedisSettings,
        LogSettings,
        TraceSettings,
        SupabaseSettings,
        KeySettings,
        EngineSettings,
        IngressSettings,
        PageSettings,
        MediaSettings,
        CallbackSettings,
    ),
    "send": WORKER,
    "provision": WORKER,
    "webhook": WORKER,
    "media": WORKER,
    "callback": WORKER,
    "record": (RedisSettings, LogSettings, TraceSettings, SupabaseSettings),
    "clock": (
        RedisSettings,
        LogSettings,
        TraceSettings,
        SupabaseSettings,
        PlatformSettings,
        KeySettings,
        EngineSettings,
        RetentionSettings,
    ),
}
READ_BY_SDK = {"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME"}
"""Variables that docs/traces.md names, and that no setting of ours reads."""
NOT_FOR_DEPLOYMENT = {"WPP_ALLOW_VOLATILE_REDIS", "WPP_DEMO_USER"}


def read_services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


@pytest.mark.parametrize("service", GROUPS)
def test_a_service_gets_the_settings_that_its_process_reads(service: str) -> None:
    """A stolen environment of one process holds no secret of another."""
    expected = {name.upper() for group in GROUPS[service] for name in group.model_fields}
    expected = expected - NOT_FOR_DEPLOYMENT | READ_BY_SDK
    assert set(read_services()[service]["environment"]) == expected


def test_variables_that_the_page_about_traces_names_reach_each_process() -> None:
    page = (ROOT / "docs" / "traces.md").read_text(encoding="utf-8")
    named = set(re.findall(r"OTEL_[A-Z_]+", page))
    for service in GROUPS:
        assert named <= set(read_services()[service]["environment"])


@pytest.mark.parametrize("service", GROUPS)
def test_a_build_of_compose_takes_the_arguments_of_the_dockerfile(service: str) -> None:
    """So that `docker compose up --build` keeps what was chosen in `.env`."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    defaults = dict(re.findall(r"^ARG (\w+)=(\w+)$", dockerfile, re.MULTILINE))
    assert defaults
    args = read_services()[service]["build"]["args"]
    assert args == {name: f"${{{name}:-{value}}}" for name, value in defaults.items()}


def test_the_ingress_never_sees_the_secret_of_the_platform() -> None:
    assert "WPP_SECRET" not in read_services()["web"]["environment"]


@pytest.mark.parametrize("service", [*GROUPS, "redis"])
def test_a_container_is_confined(service: str) -> None:
    """Read-only file system, no capabilities, a memory limit."""
    container = read_services()[service]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["mem_limit"]


def test_redis_asks_for_a_password_and_bounds_its_memory() -> None:
    command = read_services()["redis"]["command"]
    assert "--requirepass" in command
    assert "--maxmemory " in command


def test_base_images_are_pinned_by_digest() -> None:
    """The same build gives the same image."""
    digest = re.compile(r"\S+:\S+@sha256:[0-9a-f]{64}")
    found = re.findall(
        r"^FROM (\S+)(?: AS (\w+))?", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    bases = {image for image, _ in found} - {stage for _, stage in found}
    for image in [*bases, read_services()["redis"]["image"]]:
        assert digest.fullmatch(image)

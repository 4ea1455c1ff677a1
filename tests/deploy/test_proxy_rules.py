"""Proxies with the rules of the docs send our functions to the ingress, and pass what it takes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import IngressSettings, MediaSettings
from workers.ingress import api_routes
from workers.ingress.app import create_api
from workers.ingress.functions.endpoint import FUNCTIONS, PATH, WEBHOOK
from workers.ingress.webhooks import endpoint as webhooks

DOCS = Path(__file__).parents[2] / "docs"
MOVING = (DOCS / "moving.md").read_text(encoding="utf-8")
DEPLOYING = (DOCS / "deploying.md").read_text(encoding="utf-8")
OTHERS = (
    "whatsapp-webhook",
    "whatsapp-send-template",
    "whatsapp-get-avatar",
    "messenger-integrations-old",
    "messenger-settings-list",
    "my-wpp-send",
    "",
)
UNITS = {"k": 1024, "m": 1024**2}


def block(page: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found, f"no rule for {language}"
    return found[1]


def read_kong() -> str:
    """Return the pattern of the route, in the form of `_format_version` 2.1, Supabase's own.

    Kong 2 refuses a path without a slash in front. Kong 2 and 3 take it as a prefix unless it has a
    character beside the plain ones.
    """
    services: list[dict[str, Any]] = yaml.safe_load(block(MOVING, "yaml"))
    [[path]] = [route["paths"] for service in services for route in service["routes"]]
    assert path.startswith("/"), "Kong 2.8 does not start with this path"
    assert re.search(r"[^a-zA-Z0-9._~/%-]", path), "a plain path of Kong is a prefix"
    return f"^{path}"


def read_nginx() -> str:
    found = re.search(r"location ~ (\S+) \{", block(MOVING, "nginx"))
    assert found
    return found[1]


@pytest.mark.parametrize("read", [read_kong, read_nginx], ids=["kong", "nginx"])
def test_a_rule_names_our_functions_and_no_function_of_the_crm(read: Any) -> None:
    """All functions and the webhook; what has a similar name stays with the CRM."""
    rule = re.compile(read())
    ours = [*FUNCTIONS, WEBHOOK]
    assert [name for name in ours if not rule.search(PATH + name)] == []
    assert [name for name in OTHERS if rule.search(PATH + name)] == []


def test_nginx_takes_webhooks_with_files() -> None:
    """Its own limit of 1 MB would refuse them."""
    assert "client_max_body_size 25m" in block(MOVING, "nginx")


def read_location(path: str) -> dict[str, str]:
    """Return the directives of the location that nginx chooses for a path."""
    found = re.findall(
        r"^ *location (= )?(/\S*) +\{(.*)\}$", block(DEPLOYING, "nginx"), re.MULTILINE
    )
    exact = [directives for equal, place, directives in found if equal and place == path]
    prefixes = {place: each for equal, place, each in found if not equal and path.startswith(place)}
    [chosen] = exact or [prefixes[max(prefixes, key=len)]]
    return dict(each.split(maxsplit=1) for each in chosen.split(";") if each.strip())


def read_limit(path: str) -> int:
    """Return how many bytes of a body nginx passes on; without a line of its own, 1 MB."""
    size = read_location(path).get("client_max_body_size", "1m")
    return int(size[:-1]) * UNITS[size[-1]]


def read_operations() -> Iterator[tuple[str, api_routes.Operation]]:
    for path, methods in create_api().openapi()["paths"].items():
        for method, documented in methods.items():
            yield path, api_routes.Operation.read(method, documented)


def test_nginx_passes_bodies_that_the_ingress_takes() -> None:
    """Files, batches and webhooks are larger than the rest."""
    limits, media = IngressSettings.model_construct(), MediaSettings.model_construct()
    allowed = dict.fromkeys((*webhooks.LEGACY_PATHS, "/webhooks/wpp/a/b"), limits.wpp_body_limit)
    for path, operation in read_operations():
        if operation.takes_file:
            allowed[path] = media.wpp_media_limit
        elif path == "/v1/messages/batch":
            allowed[path] = limits.wpp_batch_body_limit
        elif operation.takes_body:
            allowed[path] = limits.wpp_api_body_limit
    assert {path: limit for path, limit in allowed.items() if read_limit(path) < limit} == {}
    assert media.wpp_media_limit in allowed.values(), "no operation takes a file"
    assert limits.wpp_batch_body_limit in allowed.values(), "no operation takes a batch"


def test_nginx_passes_streams_on_at_once() -> None:
    """A buffered stream tells of its events minutes later; the table names each stream."""
    streams = {path for path, operation in read_operations() if operation.is_stream}
    assert streams
    [row] = re.findall(r"^\| pass streams on \|.*$", DEPLOYING, re.MULTILINE)
    for path in streams:
        assert read_location(path).get("proxy_buffering") == "off", path
        assert f"`{path}`" in row

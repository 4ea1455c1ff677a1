"""The rules of docs/moving.md send exactly our functions to the ingress."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from workers.ingress.functions.endpoint import FUNCTIONS, PATH, WEBHOOK

DOCS = Path(__file__).parents[2] / "docs"
MOVING = (DOCS / "moving.md").read_text(encoding="utf-8")
OTHERS = (
    "whatsapp-webhook",
    "whatsapp-send-template",
    "whatsapp-get-avatar",
    "messenger-integrations-old",
    "messenger-settings-list",
    "my-wpp-send",
    "",
)


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

"""The OpenAPI document tells all that a caller has to know, for each operation alike."""

import json
import subprocess
import sys
from collections import Counter
from typing import Any

import jsonschema_rs
import pytest

from shared.service_keys import ACTIONS
from tests.fixtures.api_document import DocumentedOperation, list_operations, read_document

DOCUMENT = read_document()
OPERATIONS = pytest.mark.parametrize(
    "operation", list_operations(), ids=lambda operation: operation.id
)
JSON = "application/json"
PROBLEM = "application/problem+json"


def resolve(described: dict[str, Any]) -> dict[str, Any]:
    """Return what a $ref stands for."""
    found: Any = described
    if reference := described.get("$ref"):
        found = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    return dict(found)


def check(value: Any, schema: dict[str, Any]) -> list[str]:
    """Return what is wrong with a value by a schema of the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]


def list_bodies(operation: DocumentedOperation) -> list[tuple[str, str, dict[str, Any]]]:
    """Return where a body is documented, its media type and its content."""
    described = {"the request": operation.details.get("requestBody", {})}
    described |= {f"status {each}": body for each, body in operation.details["responses"].items()}
    return [
        (where, media_type, content)
        for where, body in described.items()
        for media_type, content in body.get("content", {}).items()
    ]


@OPERATIONS
def test_an_operation_is_named_and_described(operation: DocumentedOperation) -> None:
    """FastAPI takes them from the route: operation_id, summary, tags, docstring."""
    missing = [
        name
        for name in ("operationId", "summary", "description", "tags", "security")
        if not operation.details.get(name)
    ]
    assert missing == [], f"{operation.method} {operation.path} lacks {missing} in its route"
    tags = {each["name"] for each in DOCUMENT["tags"]}
    assert set(operation.details["tags"]) <= tags, "describe the tag in app.TAGS"
    assert operation.details["security"] == [{"serviceKey": []}, {"userSession": []}]
    assert operation.action in ACTIONS, (
        f"no service key can be limited to {operation.action}: tag the route by one of the "
        "resources in shared.service_keys.ACTIONS, or add its actions there"
    )


@OPERATIONS
def test_the_errors_of_an_operation_are_documented(operation: DocumentedOperation) -> None:
    """Those that apply: 404 where a resource is named, 415 where a body is taken."""
    needed = {"400", "401", "403", "422", "429", "503"}
    if operation.path_ids:
        needed.add("404")
    if "requestBody" in operation.details:
        needed |= {"408", "413", "415"}
    responses = operation.details["responses"]
    missing = sorted(needed - set(responses))
    assert missing == [], f"{operation.id}: give its router responses=errors.RESPONSES"
    for status, response in responses.items():
        assert response["description"], f"{operation.id}: describe status {status}"
        if status >= "400":
            content = response["content"]
            assert list(content) == [PROBLEM], f"{operation.id}: {status} is no problem+json"
            assert content[PROBLEM]["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert content[PROBLEM]["example"]["status"] == int(status)


@OPERATIONS
def test_each_json_body_has_a_valid_example(operation: DocumentedOperation) -> None:
    """Built from the fields; a model whose fields leave too much open needs `examples` of them."""
    for where, media_type, content in list_bodies(operation):
        if not media_type.endswith("json"):
            continue
        named = content.get("examples", {}).values()
        examples = [each["value"] for each in named] or [content.get("example")]
        for example in examples:
            assert example is not None, f"{operation.id}: {where} has no example"
            faults = check(example, content["schema"])
            assert faults == [], f"{operation.id}: the example of {where} is invalid"


@OPERATIONS
def test_each_parameter_is_described(operation: DocumentedOperation) -> None:
    for parameter in operation.details["parameters"]:
        assert parameter.get("description"), f"{operation.id}: describe {parameter['name']}"


@OPERATIONS
def test_an_effect_can_be_repeated_safely(operation: DocumentedOperation) -> None:
    """Each POST takes an Idempotency-Key, or its route says why it needs none."""
    names = {each["name"] for each in operation.details["parameters"]}
    if operation.method == "POST":
        assert "Idempotency-Key" in names, f"{operation.id}: take deps.IdempotencyKey"
        success = [body for each, body in operation.details["responses"].items() if each < "300"]
        assert any("Idempotent-Replayed" in each["headers"] for each in success)


@OPERATIONS
def test_headers_of_answers_are_documented(operation: DocumentedOperation) -> None:
    for status, response in operation.details["responses"].items():
        headers = response["headers"]
        assert {"RateLimit", "RateLimit-Policy"} <= set(headers), operation.id
        assert ("Retry-After" in headers) == (status in {"429", "503"})
        assert all(resolve(each)["description"] for each in headers.values())


def test_an_operation_id_is_unique() -> None:
    """Clients name their functions by it."""
    counts = Counter(operation.id for operation in list_operations())
    assert [name for name, count in counts.items() if count > 1] == []


def test_a_stream_names_its_events() -> None:
    """As an event with its data, for people; a generated client reads lines of text."""
    streams = [each for each in list_operations() if each.is_stream]
    assert streams
    for stream in streams:
        content = stream.details["responses"]["200"]["content"]["text/event-stream"]
        assert content["example"].startswith(("event: ", "id: "))


def test_the_document_names_its_security_and_errors() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {name: each["scheme"] for name, each in schemes.items()} == {
        "serviceKey": "bearer",
        "userSession": "bearer",
    }
    assert {"type", "title", "status", "code", "detail"} <= set(
        DOCUMENT["components"]["schemas"]["Problem"]["properties"]
    )


def test_the_document_is_printed_without_settings() -> None:
    """Clients are generated from it."""
    command = [sys.executable, "-m", "workers.ingress.openapi"]
    printed = subprocess.run(command, capture_output=True, check=True, env={}).stdout
    assert json.loads(printed) == DOCUMENT

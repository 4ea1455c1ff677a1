"""Operations by method and path, from an OpenAPI document."""

from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError

from workers.ingress.api_routes import (
    ApiRoutes,
    MethodNotAllowedError,
    Operation,
    UnsupportedMediaTypeError,
)

STREAM: dict[str, Any] = {"responses": {"200": {"content": {"text/event-stream": {}}}}}
ROUTES = ApiRoutes(
    {
        "/v1/a": {
            "get": {"operationId": "list", "tags": ["a"]},
            "post": {"operationId": "add", "tags": ["a"]},
        },
        "/v1/a/{id}": {"patch": {"operationId": "change", "tags": ["a"]}},
        "/v1/a/events": {"get": {"operationId": "stream", **STREAM}},
        "/v1/a/{id}/qr.png": {"get": {"operationId": "draw"}},
    }
)


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("GET", "/v1/a", "list"),
        ("HEAD", "/v1/a", "list"),
        ("POST", "/v1/a", "add"),
        ("PATCH", "/v1/a/1", "change"),
        ("GET", "/v1/a/events", "stream"),
        ("GET", "/v1/a/1/qr.png", "draw"),
        ("PATCH", "/v1/a/1/2", None),
        ("GET", "/v1/a/1/qrxpng", None),
        ("GET", "/v1/a/", None),
        ("GET", "/v1/ab", None),
        ("POST", "/v1/a\n", None),
        ("PATCH", "/v1/a/1\n", None),
    ],
)
def test_routes_are_known_by_method_and_path(method: str, path: str, operation: str | None) -> None:
    """A parameter is one part of a path; a static path comes before a parameter."""
    found = ROUTES.find(method, path)
    assert (found.id if found else None) == operation


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/a", "GET, HEAD, OPTIONS, POST"),
        ("GET", "/v1/a/1", "OPTIONS, PATCH"),
        ("HEAD", "/v1/a/events", "GET, OPTIONS"),
    ],
)
def test_a_path_without_the_method_lists_those_it_has(method: str, path: str, allow: str) -> None:
    with pytest.raises(MethodNotAllowedError) as error:
        ROUTES.find(method, path)
    assert error.value.allow == allow


def make_operation(**documented: Any) -> Operation:
    return Operation.read("get", {"operationId": "x", **documented})


def test_query_parameters_are_those_of_the_document() -> None:
    """Parameters in the path and in headers are none."""
    operation = make_operation(
        parameters=[{"name": "limit", "in": "query"}, {"name": "id", "in": "path"}]
    )
    operation.check_query(b"")
    operation.check_query(b"limit=3&limit=4")
    for query, unknown in [(b"id=1", ["id"]), (b"a=&limit=1&%62", ["a", "b"]), (b"=", [""])]:
        with pytest.raises(RequestValidationError) as error:
            operation.check_query(query)
        assert [fault["loc"][1] for fault in error.value.errors()] == unknown
    with pytest.raises(RequestValidationError):
        operation.check_query(b"limit=1&" * 10_000)


def test_reading_is_an_action_of_its_own() -> None:
    """What is read or written is named by the tag of an operation."""
    actions = {
        ROUTES.find(method, path).action  # type: ignore[union-attr]
        for method, path in [("GET", "/v1/a"), ("HEAD", "/v1/a"), ("PATCH", "/v1/a/1")]
    }
    assert actions == {"a:read", "a:write"}


def test_only_an_operation_with_a_body_asks_for_its_type() -> None:
    make_operation().check_media_type("")
    with pytest.raises(UnsupportedMediaTypeError, match="missing"):
        make_operation(requestBody={}).check_media_type("")
    with pytest.raises(UnsupportedMediaTypeError, match="text/html"):
        make_operation(requestBody={}).check_media_type("text/html")

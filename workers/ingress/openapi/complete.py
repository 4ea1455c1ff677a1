"""Completes the OpenAPI document that FastAPI generates from the routes.

FastAPI describes each route by itself. What holds for all of them is added here: credentials,
headers, errors with examples, and an example of each body whose model has none.
"""

from collections.abc import Iterator

from pydantic import BaseModel

from workers.ingress.callers import ORGANIZATION_HEADER
from workers.ingress.openapi.examples import Examples, Json
from workers.ingress.openapi.headers import HEADERS, list_headers

SECURITY_SCHEMES: Json = {
    "serviceKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "wpk_…",
        "description": "A service key: `wpp keys create NAME --organization ID` makes it, for one "
        "organization or several, and for all actions or some.",
    },
    "userSession": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The Supabase access token of a member of the organization.",
    },
}
SECURITY: list[Json] = [{name: []} for name in SECURITY_SCHEMES]
ORGANIZATION: Json = {
    "name": ORGANIZATION_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "format": "uuid"},
    "description": "The organization, for a key that is valid for several.",
}
METHODS = ("get", "post", "put", "patch", "delete")
BODY_ERRORS = ("408", "413", "415")
"""Answers to a body: an operation that takes none does not document them."""
STREAM = "text/event-stream"


def complete_document(document: Json, problem: type[BaseModel]) -> None:
    """Complete a document in place; `problem` is the model of all errors."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schema = problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= schema.pop("$defs", {}) | {problem.__name__: schema}
    components["securitySchemes"] = SECURITY_SCHEMES
    components["headers"] = HEADERS
    for operation in iterate_operations(document):
        _complete_operation(operation, schemas)


def iterate_operations(document: Json) -> Iterator[Json]:
    for methods in document["paths"].values():
        yield from (each for method, each in methods.items() if method in METHODS)


def _complete_operation(operation: Json, schemas: Json) -> None:
    operation["security"] = SECURITY
    operation.setdefault("parameters", []).append(ORGANIZATION)
    responses = operation["responses"]
    responses.pop("405", None)  # a method that the document has is no 405
    if "requestBody" not in operation:
        for status in BODY_ERRORS:
            responses.pop(status, None)
    if not _names_a_resource(operation):
        responses.pop("404", None)
    _add_examples(operation.get("requestBody", {}), schemas, whole=False)
    for status, response in responses.items():
        _add_examples(response, schemas, whole=True)
        response["headers"] = response.get("headers", {}) | {
            name: {"$ref": f"#/components/headers/{name}"}
            for name in list_headers(status, operation)
        }


def _names_a_resource(operation: Json) -> bool:
    """Return whether a request names a resource, which may not exist."""
    return "requestBody" in operation or any(
        each["in"] == "path" or (each["in"] == "query" and "uuid" in str(each["schema"]))
        for each in operation["parameters"]
    )


def _add_examples(described: Json, schemas: Json, *, whole: bool) -> None:
    """Add an example to each media type of a body that has none."""
    for media_type, content in described.get("content", {}).items():
        if media_type == STREAM:  # readers of OpenAPI 3.1 do not know `itemSchema`
            content.setdefault("schema", {"type": "string"})
            content.setdefault("example", "event: numbers\ndata: []\n\n")
        elif media_type.endswith("json") and not content.keys() & {"example", "examples"}:
            content["example"] = Examples(schemas, whole).build(content["schema"])

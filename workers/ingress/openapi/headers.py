"""The headers of responses, described once in the OpenAPI document."""

from typing import Any


def _describe(description: str, example: str | int) -> dict[str, Any]:
    kind = "integer" if isinstance(example, int) else "string"
    return {"description": description, "schema": {"type": kind}, "example": example}


HEADERS: dict[str, Any] = {
    "Location": _describe(
        "Path of what the request made.", "/v1/messages/6f1f2a8e-9d0b-4a57-8f13-2f5a4c1d0e9b"
    ),
    "Idempotent-Replayed": _describe(
        "Present if the request repeats an earlier one with the same Idempotency-Key.", "true"
    ),
    "Preference-Applied": _describe("The `wait` that was respected.", "wait=20"),
    "RateLimit": _describe("What is left of the quota.", '"key";r=5999;t=30'),
    "RateLimit-Policy": _describe("The quota: requests in a window of s.", '"key";q=6000;w=30'),
    "Retry-After": _describe("When to try again, in s.", 2),
    "WWW-Authenticate": _describe("How to authenticate.", "Bearer"),
}


def list_headers(status: str, operation: dict[str, Any]) -> list[str]:
    """Return the names of the headers that an answer with this status may have."""
    taken = {each["name"].lower() for each in operation["parameters"] if each["in"] == "header"}
    is_success = status.startswith("2")
    possible = {
        "Location": status in {"201", "202"} and _makes_a_resource(operation),
        "Idempotent-Replayed": is_success and "idempotency-key" in taken,
        "Preference-Applied": is_success and "prefer" in taken,
        "RateLimit": True,
        "RateLimit-Policy": True,
        "Retry-After": status in {"429", "503"},
        "WWW-Authenticate": status == "401",
    }
    return [name for name, is_possible in possible.items() if is_possible]


def _makes_a_resource(operation: dict[str, Any]) -> bool:
    return not any(each["in"] == "path" for each in operation["parameters"])

"""Examples are built from the schema of a body."""

from typing import Any

import pytest

from workers.ingress.openapi.examples import Examples

SCHEMAS: dict[str, Any] = {
    "Id": {"type": "string", "format": "uuid"},
    "Tree": {"type": "object", "properties": {"leaf": {"$ref": "#/components/schemas/Tree"}}},
}


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"type": "string", "examples": ["Anna"], "default": "x"}, "Anna"),
        ({"type": "string", "default": "x"}, "x"),
        ({"const": "text"}, "text"),
        ({"enum": ["queued", "sent"]}, "queued"),
        ({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 5}]}, 5),
        ({"$ref": "#/components/schemas/Id"}, "6f1f2a8e-9d0b-4a57-8f13-2f5a4c1d0e9b"),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"type": "string", "minLength": 6}, "textxx"),
        ({"type": "number", "exclusiveMinimum": 0}, 1),
    ],
    ids=["example", "default", "constant", "enum", "any", "ref", "array", "text", "number"],
)
def test_an_example_is_the_most_telling_value(schema: dict[str, Any], example: Any) -> None:
    """An example of the field comes first, then its default, its first choice, its type."""
    assert Examples(SCHEMAS).build(schema) == example


def test_an_object_shows_what_is_required_or_has_an_example() -> None:
    """An answer shows its other fields too."""
    schema = {
        "type": "object",
        "required": ["to"],
        "properties": {
            "to": {"type": "string"},
            "text": {"type": "string", "default": "", "examples": ["Hello"]},
            "add_new": {"type": "boolean", "default": False},
        },
    }
    assert Examples(SCHEMAS).build(schema) == {"to": "text", "text": "Hello"}
    assert Examples(SCHEMAS, whole=True).build(schema) == {
        "to": "text",
        "text": "Hello",
        "add_new": False,
    }


def test_a_schema_that_refers_to_itself_ends() -> None:
    assert Examples(SCHEMAS, whole=True).build({"$ref": "#/components/schemas/Tree"})["leaf"]

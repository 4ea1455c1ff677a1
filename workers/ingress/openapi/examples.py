"""Examples of bodies, built from their JSON schema where a model gives none."""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

PREFIX = "#/components/schemas/"
BY_FORMAT = {
    "uuid": "6f1f2a8e-9d0b-4a57-8f13-2f5a4c1d0e9b",
    "date-time": "2026-11-29T12:00:00Z",
    "date": "2026-11-29",
    "uri": "https://example.com/price-list.pdf",
    "binary": "",
}
CHOICES = ("anyOf", "oneOf", "allOf")
MAX_DEPTH = 6


@dataclass(frozen=True)
class Examples:
    """Builds examples; `schemas` are those that others refer to.

    With `whole`, an object has its optional fields too.
    """

    schemas: Json
    whole: bool = False

    def build(self, schema: Json, depth: int = 0) -> Any:
        """Return a value that is valid by a schema.

        An example of the schema comes first, then its constant, its default, its first choice.
        """
        if "$ref" in schema:
            return self.build(self.schemas[schema["$ref"].removeprefix(PREFIX)], depth)
        if given := _list_given(schema):
            return given[0]
        if choices := [each for key in CHOICES for each in schema.get(key, ())]:
            return self.build(next(filter(_is_value, choices), choices[0]), depth)
        return self._build_by_type(schema, depth)

    def _build_by_type(self, schema: Json, depth: int) -> Any:
        kind = schema.get("type")
        if kind == "object":
            return self._build_object(schema, depth)
        if kind == "array":
            items = schema.get("items")
            return [self.build(items, depth + 1)] if items and depth < MAX_DEPTH else []
        return _build_scalar(schema)

    def _build_object(self, schema: Json, depth: int) -> Json:
        fields = schema.get("properties", {}) if depth < MAX_DEPTH else {}
        return {
            name: self.build(each, depth + 1)
            for name, each in fields.items()
            if self.whole or name in schema.get("required", ()) or "examples" in each
        }


def _list_given(schema: Json) -> list[Any]:
    """Return the values that a schema itself names, the most telling value first."""
    single = [schema[key] for key in ("example", "const", "default") if key in schema]
    return [
        *schema.get("examples", ()),
        *(value for value in single if value is not None),
        *schema.get("enum", ()),
    ]


def _is_value(schema: Json) -> bool:
    return schema.get("type") != "null"


def _build_scalar(schema: Json) -> Any:
    kind = schema.get("type")
    if kind == "string":
        text = BY_FORMAT.get(schema.get("format", ""), "text")
        return text.ljust(schema.get("minLength", 0), "x")
    if kind in {"integer", "number"}:
        lowest = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        return int(lowest) if kind == "integer" else lowest
    return True if kind == "boolean" else None

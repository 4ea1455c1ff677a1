"""The operations of the API by method and path, and what a request has to look like for each."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError

from shared.errors import PipelineError

MAX_QUERY_FIELDS = 100
FILE = "application/octet-stream"
JSON = re.compile(r"application/(?:[\w.+-]+\+)?json", re.IGNORECASE)


class MethodNotAllowedError(PipelineError):
    """The path exists, without this method."""

    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(f"This path has the methods {allow}.")
        self.allow = allow


class UnsupportedMediaTypeError(PipelineError):
    """The body is not declared as JSON."""

    code = "unsupported_media_type"

    def __init__(self, given: str) -> None:
        found = f"not as {given[:100]}" if given else "and the header is missing"
        super().__init__(f"Send the body as JSON with Content-Type: application/json, {found}.")


@dataclass(frozen=True)
class Operation:
    """What a method of a path takes."""

    id: str
    action: str
    takes_body: bool
    takes_file: bool
    """The body is the bytes of a file: the route reads it, within limits of its own."""
    query: frozenset[str]
    is_stream: bool

    @classmethod
    def read(cls, method: str, documented: Mapping[str, Any]) -> Self:
        """Read the OpenAPI description of an operation: its tag is what it reads or writes."""
        (resource,) = documented.get("tags", [""])[:1]
        resource = "messages" if resource == "conversations" else resource
        success = documented.get("responses", {}).get("200", {})
        return cls(
            id=documented.get("operationId", ""),
            action=f"{resource}:{'read' if method == 'get' else 'write'}",
            takes_body="requestBody" in documented,
            takes_file=FILE in documented.get("requestBody", {}).get("content", {}),
            query=frozenset(
                each["name"] for each in documented.get("parameters", ()) if each["in"] == "query"
            ),
            is_stream="text/event-stream" in success.get("content", {}),
        )

    def check_query(self, query: bytes) -> None:
        """Refuse parameters that this operation does not have.

        Raises:
            RequestValidationError: it names them.
        """
        if not query:
            return
        names = _read_names(query)
        unknown = [name for name in dict.fromkeys(names) if name not in self.query]
        if unknown:
            known = ", ".join(sorted(self.query)) or "none"
            message = f"There is no such query parameter here; there are: {known}"
            raise RequestValidationError(
                [{"loc": ("query", name[:100]), "msg": message} for name in unknown[:10]]
            )

    def check_media_type(self, content_type: str) -> None:
        """Raise UnsupportedMediaTypeError unless a body of this type is read as JSON."""
        reads_json = self.takes_body and not self.takes_file
        if reads_json and not JSON.fullmatch(content_type.partition(";")[0].strip()):
            raise UnsupportedMediaTypeError(content_type)


def _read_names(query: bytes) -> Iterable[str]:
    try:
        fields = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS
        )
    except ValueError:
        return ("too many",)
    return (name for name, _ in fields)


class ApiRoutes:
    """The operations of the API, by its OpenAPI document."""

    def __init__(self, paths: Mapping[str, Mapping[str, Any]]) -> None:
        groups = [re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) for path in paths]
        # Static paths first: `/events` before `/{id}`.
        order = sorted(range(len(groups)), key=lambda index: "[^/]+" in groups[index])
        self._pattern = re.compile("|".join(f"({groups[index]})" for index in order))
        listed = [
            {method.upper(): Operation.read(method, each) for method, each in methods.items()}
            for methods in paths.values()
        ]
        self._operations = [listed[index] for index in order]

    def find(self, method: str, path: str) -> Operation | None:
        """Return the operation of a request, or None if there is no such path.

        A path that ends in a line feed is none: the router's patterns end in `$`, which matches
        before it too, so that the router could find another operation than this method.

        HEAD is answered as GET, except for a stream, which has no end.

        Raises:
            MethodNotAllowedError: the path has other methods.
        """
        found = None if path.endswith("\n") else self._pattern.fullmatch(path)
        if found is None or not found.lastindex:
            return None
        operations = self._operations[found.lastindex - 1]
        operation = operations.get("GET" if method == "HEAD" else method)
        if operation is None or (method == "HEAD" and operation.is_stream):
            raise MethodNotAllowedError(_list_methods(operations))
        return operation


def _list_methods(operations: Mapping[str, Operation]) -> str:
    """Return the value of the header Allow."""
    has_head = any(name == "GET" and not each.is_stream for name, each in operations.items())
    return ", ".join(sorted({*operations, "OPTIONS", *(("HEAD",) if has_head else ())}))

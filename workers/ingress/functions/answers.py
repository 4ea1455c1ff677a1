"""Answers as the CRM's front end reads them: JSON with `success`, and `error` for people.

Its wrapper repeats 408, 429, 500, 502, 503, 504 and a failed connection, a POST too. A permanent
error therefore has another status. It reads `error` under `application/json` only, and an answer
without CORS headers counts as a failed connection.
"""

import json
from http import HTTPStatus
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Send

from workers.ingress.errors import to_response

HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After",
    "Cache-Control": "no-store",
}
PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "authorization, x-client-info, apikey, content-type",
    "Access-Control-Max-Age": "86400",
}


class FunctionError(Exception):
    """An error of the caller; its text is shown to people."""

    def __init__(self, text: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(text)
        self.status = status


def not_found(text: str) -> FunctionError:
    return FunctionError(text, HTTPStatus.NOT_FOUND)


def succeed(status: HTTPStatus = HTTPStatus.OK, /, **fields: Any) -> JSONResponse:
    """Return an answer with `success: true`, and the given fields over it."""
    return JSONResponse({"success": True, **fields}, status)


def answer_error(error: Exception) -> Response:
    """Return the answer to an error, with the status that the API gives it.

    422 becomes 400, which the CRM knows.
    """
    if isinstance(error, FunctionError):
        return JSONResponse({"success": False, "error": str(error)}, error.status)
    problem = to_response(error)
    found = json.loads(bytes(problem.body))
    status = 400 if problem.status_code == 422 else problem.status_code
    kept = {
        name: value
        for name, value in problem.headers.items()
        if name not in {"content-length", "content-type"}
    }
    body = {"success": False, "error": found["detail"], "code": found["code"]}
    return JSONResponse(body, status, kept)


def answer_preflight() -> Response:
    """Return the answer to OPTIONS, with or without an Origin."""
    return Response(status_code=204, headers=PREFLIGHT_HEADERS)


def with_cors(send: Send) -> Send:
    """Return a `send` that lets pages of every origin read the answer; it has no cookies."""

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return send_marked

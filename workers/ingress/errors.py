"""How the door says no: RFC 9457 problem details, one shape for every error.

{"type": "about:blank", "title", "status", "code", "detail", "errors": [{"field", "message"}]}
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import redis
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from shared.errors import (
    AccessError,
    DatabaseUnavailableError,
    IdempotencyConflictError,
    NotFoundError,
    NotUnknownError,
    OverloadedError,
    PipelineError,
)
from shared.redis import is_transient

STATUS = {
    AccessError: HTTPStatus.UNAUTHORIZED,
    NotFoundError: HTTPStatus.NOT_FOUND,
    NotUnknownError: HTTPStatus.CONFLICT,
    IdempotencyConflictError: HTTPStatus.UNPROCESSABLE_ENTITY,
    OverloadedError: HTTPStatus.SERVICE_UNAVAILABLE,
    DatabaseUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}
RETRY_AFTER_S = 2


class Problem(BaseModel):
    """What every error looks like (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    code: str = Field(description="A word to tell errors apart by.")
    detail: str = Field(description="What was wrong, and what to do.")
    errors: list[dict[str, str]] = Field(
        default=[], description="The wrong fields, with a message each."
    )


def _documented(what: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": what,
        "model": Problem,
        "content": {"application/problem+json": {"schema": schema}},
    }


RESPONSES: dict[int | str, dict[str, Any]] = {
    400: _documented("Not readable as a request."),
    401: _documented("A stranger."),
    404: _documented("Not there, or not the caller's."),
    422: _documented("A wrong field, or an Idempotency-Key that was used for something else."),
    503: _documented("Nothing was accepted: try again later."),
}
"""The errors that every route may answer with, for OpenAPI."""
CONFLICT: dict[int | str, dict[str, Any]] = {409: _documented("Not while it is as it is now.")}

log = structlog.get_logger()


def problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    errors: Sequence[dict[str, str]] = (),
    **headers: str,
) -> JSONResponse:
    """Return the answer; `headers` are named with underscores for hyphens."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": detail,
    }
    if errors:
        content["errors"] = list(errors)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse(content, status, named, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Let every error of the routes end in a problem."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(PipelineError, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(redis.RedisError, _redis)
    app.add_exception_handler(Exception, _surprise)


async def said(error: Exception) -> JSONResponse:
    """Return the answer to an error of a route that is none of FastAPI's."""
    for kind, answer in (
        (PipelineError, _known),
        (redis.RedisError, _redis),
    ):
        if isinstance(error, kind):
            return await answer(None, error)
    return await _surprise(None, error)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type
    errors = [
        {"field": _field(fault["loc"]), "message": _plain(fault["msg"])} for fault in error.errors()
    ]
    detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in errors)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, errors)


def _field(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location[1:]) or str(location[0])


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")


async def _known(_request: Request | None, error: Exception) -> JSONResponse:
    assert isinstance(error, PipelineError)  # noqa: S101 - registered for this type
    status = next(
        (found for kind, found in STATUS.items() if isinstance(error, kind)),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        wait_s = int(getattr(error, "retry_after_s", RETRY_AFTER_S))
        return problem(status, error.code, str(error), Retry_After=str(max(1, wait_s)))
    if status is HTTPStatus.UNAUTHORIZED:
        return problem(status, error.code, str(error), WWW_Authenticate="Bearer")
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request.failed", code=error.code, error=str(error))
    return problem(status, error.code, str(error))


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type
    status = HTTPStatus(error.status_code)
    answer = problem(status, status.name.lower(), str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _redis(request: Request | None, error: Exception) -> JSONResponse:
    if not is_transient(error):
        return await _surprise(request, error)
    log.warning("redis.away", error=str(error))
    detail = "nothing was accepted: the queue did not confirm; send the same request again, with its Idempotency-Key"
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "queue_unavailable", detail, Retry_After=str(RETRY_AFTER_S)
    )


async def _surprise(_request: Request | None, error: Exception) -> JSONResponse:
    log.error("request.surprise", exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "an error on our side; it has been logged",
    )

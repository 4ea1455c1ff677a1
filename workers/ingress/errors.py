"""Error responses: RFC 9457 problem details, the same shape for every error.

{"type", "title", "status", "code", "detail", "errors": [{"field", "message"}]}
"""

import math
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
    ImpossibleChangeError,
    NotFoundError,
    NotUnknownError,
    NotWaitingError,
    OverloadedError,
    PipelineError,
)
from shared.redis import is_transient
from shared.webhooks import TooManyEventsError
from workers.ingress.api_routes import MethodNotAllowedError, UnsupportedMediaTypeError
from workers.ingress.body import BodyTimeoutError, BodyTooLargeError
from workers.ingress.callbacks.refusals import CallbackUrlError, TooManyCallbacksError
from workers.ingress.callers import ForbiddenError, OrganizationMissingError
from workers.ingress.integrations.open_streams import TooManyStreamsError
from workers.ingress.request_limits import TooManyRequestsError

STATUS: dict[type[PipelineError], HTTPStatus] = {
    AccessError: HTTPStatus.UNAUTHORIZED,
    NotFoundError: HTTPStatus.NOT_FOUND,
    NotUnknownError: HTTPStatus.CONFLICT,
    NotWaitingError: HTTPStatus.CONFLICT,
    ImpossibleChangeError: HTTPStatus.CONFLICT,
    IdempotencyConflictError: HTTPStatus.UNPROCESSABLE_ENTITY,
    OverloadedError: HTTPStatus.SERVICE_UNAVAILABLE,
    DatabaseUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    BodyTimeoutError: HTTPStatus.REQUEST_TIMEOUT,
    BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TooManyEventsError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TooManyRequestsError: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyStreamsError: HTTPStatus.TOO_MANY_REQUESTS,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    OrganizationMissingError: HTTPStatus.BAD_REQUEST,
    MethodNotAllowedError: HTTPStatus.METHOD_NOT_ALLOWED,
    CallbackUrlError: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooManyCallbacksError: HTTPStatus.CONFLICT,
    UnsupportedMediaTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}
"""The status of each error, subclasses included; a PipelineError without an entry is a 500."""
OTHERS: dict[str, tuple[HTTPStatus, str]] = {
    "malformed": (HTTPStatus.BAD_REQUEST, "The body is not JSON; the answer says where it ends."),
    "bad_request": (HTTPStatus.BAD_REQUEST, "The request is not HTTP as this server reads it."),
    "invalid": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Fields or parameters of the request are wrong: `errors` names each with its fault.",
    ),
    "queue_unavailable": (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Redis did not confirm the request: send it again with the same `Idempotency-Key`.",
    ),
    "not_consumed": (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "No process consumes what is accepted: the answer of `/health/pipeline` names what is.",
    ),
    "internal_error": (
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "A fault of this server, which is in its log with the request's path.",
    ),
}
"""Codes of answers that stand for no error class, for the page of errors."""
ERRORS_PAGE = "/docs/reference/errors.html"
RETRY_AFTER_S = 2

log = structlog.get_logger()


class FieldError(BaseModel):
    """An invalid field of a request."""

    field: str = Field(description="Path of the field, parts separated by dots.")
    message: str = Field(description="What is wrong with it.")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="Where the error is described, on this server.")
    title: str = Field(description="The HTTP status in words.")
    status: int = Field(description="The HTTP status code.")
    code: str = Field(description="A stable name of the error, for programs.")
    detail: str = Field(description="What is wrong and what to do about it, for people.")
    errors: list[FieldError] = Field(default=[], description="The invalid fields, if any.")


def _describe(status: HTTPStatus, description: str, code: str, detail: str) -> dict[str, Any]:
    """Return the documentation of an error, with an example."""
    example = _make_problem(status, code, detail, ())
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {"application/problem+json": {"schema": schema, "example": example}}
    return {"description": description, "content": content}


def _make_problem(
    status: HTTPStatus, code: str, detail: str, errors: Sequence[FieldError]
) -> dict[str, Any]:
    return Problem(
        type=f"{ERRORS_PAGE}#{code.replace('_', '-')}",
        title=status.phrase,
        status=status.value,
        code=code,
        detail=detail,
        errors=list(errors),
    ).model_dump(exclude=None if errors else {"errors"})


RESPONSES: dict[int | str, dict[str, Any]] = {
    status.value: _describe(status, *texts)
    for status, *texts in (
        (
            HTTPStatus.BAD_REQUEST,
            "The body is not JSON, or the key needs `Wpp-Organization`.",
            "malformed",
            "The body is not JSON: Expecting value at character 8.",
        ),
        (
            HTTPStatus.UNAUTHORIZED,
            "Missing or invalid credentials.",
            "access_denied",
            "Missing credentials: send the header Authorization.",
        ),
        (
            HTTPStatus.FORBIDDEN,
            "The key does not allow this action, or not for this organization.",
            "forbidden",
            "This key does not allow messages:write; it allows messages:read",
        ),
        (
            HTTPStatus.NOT_FOUND,
            "Not found in this organization.",
            "not_found",
            "There is no such resource in this organization.",
        ),
        (
            HTTPStatus.REQUEST_TIMEOUT,
            "The body did not arrive in time.",
            "stalled",
            "The body paused for too long.",
        ),
        (
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "The body exceeds the limit.",
            "too_large",
            "The body has more than 262144 bytes.",
        ),
        (
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "The body is not declared as JSON by `Content-Type: application/json`.",
            "unsupported_media_type",
            "Send the body as JSON with Content-Type: application/json, not as text/plain.",
        ),
        (
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Invalid field or parameter, or an Idempotency-Key that was used for another request.",
            "invalid",
            "The request has invalid fields: `errors` names them.",
        ),
        (
            HTTPStatus.TOO_MANY_REQUESTS,
            "Too many requests; `RateLimit-Policy` names the quota. Wait `Retry-After` s.",
            "rate_limited",
            "Too many requests: wait 1 s.",
        ),
        (
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Temporarily unavailable, not confirmed. Retry after `Retry-After` s.",
            "queue_unavailable",
            "The queue did not confirm the request, so nothing was accepted.",
        ),
    )
}
"""The errors that every route may answer with, for OpenAPI."""
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: _describe(
        HTTPStatus.CONFLICT,
        "Not possible in the current status of the resource.",
        "not_unknown",
        "The status of this message is known: sent.",
    )
}


def problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    errors: Sequence[FieldError] = (),
    **headers: str,
) -> JSONResponse:
    """Return a problem response; in the names of `headers`, an underscore stands for a hyphen."""
    content = _make_problem(status, code, detail, errors)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse(content, status, named, media_type="application/problem+json")


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of the app's routes with a problem."""
    for kind in (
        RequestValidationError,
        HTTPException,
        PipelineError,
        redis.RedisError,
        Exception,
    ):
        app.add_exception_handler(kind, _handle_error)


async def _handle_error(_request: Request, error: Exception) -> JSONResponse:
    return to_response(error)


def to_response(error: Exception) -> JSONResponse:
    """Return the response to an error of a request; an unexpected error is logged."""
    match error:
        case RequestValidationError():
            return _invalid_request(error)
        case HTTPException():
            status = HTTPStatus(error.status_code)
            response = problem(status, status.name.lower(), str(error.detail))
            response.headers.update(error.headers or {})
            return response
        case PipelineError():
            return _pipeline_error(error)
        case redis.RedisError() if is_transient(error):
            log.warning("redis.unavailable", error=str(error))
            return problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "queue_unavailable",
                "The queue did not confirm the request, so nothing was accepted. "
                "Send it again with the same Idempotency-Key.",
                Retry_After=str(RETRY_AFTER_S),
            )
        case _:
            log.error("request.unexpected_error", exc_info=error)
            return problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "internal_error",
                "Unexpected server error. It has been logged.",
            )


def _invalid_request(error: RequestValidationError) -> JSONResponse:
    for fault in error.errors():
        if fault.get("type") == "json_invalid":
            where = f"{fault['ctx']['error']} at character {fault['loc'][-1]}"
            return problem(HTTPStatus.BAD_REQUEST, "malformed", f"The body is not JSON: {where}.")
    errors = [
        FieldError(
            field=".".join(str(part) for part in fault["loc"][1:]) or str(fault["loc"][0]),
            message=fault["msg"].removeprefix("Value error, "),
        )
        for fault in error.errors()
    ]
    detail = "; ".join(f"{each.field}: {each.message}" for each in errors)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, errors)


def _pipeline_error(error: PipelineError) -> JSONResponse:
    status = next(
        (found for kind, found in STATUS.items() if isinstance(error, kind)),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )
    headers: dict[str, str] = {}
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        wait_s = math.ceil(getattr(error, "retry_after_s", RETRY_AFTER_S))
        headers["Retry_After"] = str(max(1, wait_s))
    if isinstance(error, TooManyRequestsError):
        headers |= error.allowance.headers
    if isinstance(error, MethodNotAllowedError):
        headers["Allow"] = error.allow
    if status is HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW_Authenticate"] = "Bearer"
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request.failed", code=error.code, error=str(error))
    text = str(error)
    return problem(status, error.code, text[:1].upper() + text[1:], (), **headers)

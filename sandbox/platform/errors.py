"""The platform's error answers, in the forms that clients have seen."""

import html

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response


class ApiError(Exception):
    """Answered as `{"error": message}`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def make_invalid_token_error() -> ApiError:
    """Return the answer to a bad or expired JWT, and to a wrong WPP_SECRET."""
    return ApiError(401, "Invalid token")


async def answer_api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - Starlette types handlers for any exception
    return JSONResponse({"error": error.message}, error.status)


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Answer an unknown route or method as Express does."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    if error.status_code not in {404, 405}:
        return JSONResponse({"error": error.detail}, error.status_code)
    text = html.escape(f"Cannot {request.method} {request.url.path}")
    return HTMLResponse(
        f'<!DOCTYPE html>\n<html lang="en">\n<body>\n<pre>{text}</pre>\n</body>\n</html>\n', 404
    )

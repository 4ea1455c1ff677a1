"""Whose pages may call the API from a browser: the origins that may also show our page (`WPP_PAGE_PARENTS`).

A bearer in a header is all that such a page has; no cookie of ours exists, so none is allowed along.
"""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

REMEMBERED_S = 600
METHODS = ("GET", "POST", "PATCH", "DELETE")
ASKED = ("Authorization", "Content-Type", "Idempotency-Key", "Prefer")
TOLD = ("Location", "Idempotent-Replayed", "Preference-Applied", "Retry-After")


class Cors:
    """The headers of CORS on `/v1`, and on nothing else."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._plain = app
        self._api = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=ASKED,
            expose_headers=TOLD,
            max_age=REMEMBERED_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_api = scope["type"] == "http" and scope["path"].startswith("/v1/")
        await (self._api if is_api else self._plain)(scope, receive, send)

"""GET /docs/: the pages of documentation, as `make docs` built them.

They are files without a key or a token, readable without credentials. Where they were not built,
`/docs`, and the page of errors that each error names as its `type`, lead to the reference of the
API. Links are relative: they work behind the path of a proxy.
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from workers.ingress.errors import ERRORS_PAGE

SITE = Path(__file__).parents[2] / "site"
HEADERS = {
    # The theme has scripts and styles in its pages, and the pages show nothing of a request.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'unsafe-inline'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class DocsFiles(StaticFiles):
    """The files of the site, with the headers of a page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def list_routes(site: Path = SITE) -> list[BaseRoute]:
    """Return the routes of the site, whose folder may be missing; `/` leads there."""
    is_built = (site / "index.html").is_file()
    start = "index.html" if is_built else "api"
    targets = {"/": f"docs/{start}", "/docs": f"docs/{start}", "/docs/": start}
    if not is_built:
        targets[ERRORS_PAGE] = "../api"

    async def redirect(request: Request) -> Response:
        return RedirectResponse(targets[request.url.path], 307)

    routes: list[BaseRoute] = [Route(path, redirect, methods=["GET"]) for path in targets]
    return [*routes, Mount("/docs", DocsFiles(directory=site))] if is_built else routes

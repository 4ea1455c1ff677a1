"""GET /docs/api: the API reference, drawn by Swagger UI from `/openapi.json`.

All files come from this server, and the page works behind the path of a proxy: its links are
relative.
"""

from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PAGE = "/docs/api"
OURS = {"index.js": "text/javascript", "icon.svg": "image/svg+xml"}
SWAGGER_UI = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
HTML = """\
<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>API reference</title>
    <link rel="icon" href="api/icon.svg">
    <link rel="stylesheet" href="api/swagger-ui.css">
    <script src="api/swagger-ui-bundle.js" defer></script>
    <script src="api/index.js" defer></script>
  </head>
  <body><main id="reference"></main></body>
</html>
"""
SCRIPT = """\
SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def list_routes() -> list[Route]:
    """Return the routes of the page, readable without credentials."""
    return [
        Route(PAGE, _get_page, methods=["GET"]),
        *(Route(f"{PAGE}/{name}", _get_file, methods=["GET"]) for name in (*OURS, *SWAGGER_UI)),
    ]


async def _get_page(_request: Request) -> Response:
    return Response(HTML, media_type="text/html", headers=HEADERS)


async def _get_file(request: Request) -> Response:
    name = request.url.path.rpartition("/")[2]
    media_type = (OURS | SWAGGER_UI)[name]
    return Response(_read_file(name), media_type=media_type, headers=HEADERS)


@cache
def _read_file(name: str) -> bytes:
    if name == "index.js":
        return SCRIPT.encode()
    if name in SWAGGER_UI:
        return (files("fastapi_offline") / "static" / name).read_bytes()
    return (files("workers.ingress") / "static" / name).read_bytes()

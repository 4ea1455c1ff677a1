"""GET /console: the page of operators, and the page on which they sign in. Static files.

The files hold no data and no secret. Pages link relatively: they work behind the path of a proxy.
"""

from importlib.resources import files
from pathlib import PurePosixPath

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.settings import SupabaseSettings
from workers.ingress.connect_page import MEDIA_TYPES

STATIC = files("workers.ingress") / "static" / "console"
SETTINGS = "settings.json"
FILES = (
    SETTINGS,
    *sorted(each.name for each in STATIC.iterdir() if not each.name.endswith(".html")),
)
"""What is open to all beside the page on which operators sign in."""


class ConsolePages:
    """The routes of both pages and their files."""

    def __init__(self, supabase: SupabaseSettings) -> None:
        self._supabase = supabase

    @property
    def routes(self) -> list[Route]:
        named = {"/console": "console.html", "/console/sign-in": "sign-in.html"}
        named |= {f"/console/{name}": name for name in FILES if name != SETTINGS}
        return [
            Route(f"/console/{SETTINGS}", self._get_settings, methods=["GET"]),
            *(Route(path, self._read_file(name), methods=["GET"]) for path, name in named.items()),
        ]

    def _read_file(self, name: str) -> Response:
        media_type = MEDIA_TYPES[PurePosixPath(name).suffix]
        url = self._supabase.supabase_url
        also = f" {url.scheme}://{url.host}:{url.port}" if name == "sign-in.html" else ""
        return Response(
            (STATIC / name).read_bytes(), media_type=media_type, headers=make_headers(also)
        )

    async def _get_settings(self, _request: Request) -> Response:
        """Return where users of Supabase sign in. Its anonymous key is public by design."""
        settings = {
            "supabase_url": str(self._supabase.supabase_url).rstrip("/"),
            "anon_key": self._supabase.supabase_anon_key.get_secret_value(),
        }
        return JSONResponse(settings, headers=make_headers())


def make_headers(also_connects: str = "") -> dict[str, str]:
    """Return the headers of a page that asks this server only, and `also_connects`."""
    return {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"img-src 'self'; connect-src 'self'{also_connects}; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'",
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }

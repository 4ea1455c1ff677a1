"""GET /connect: the page on which a person connects numbers.

Static files that hold no key and no token: what the page needs to know it asks for (`settings.json`), and a session
it gets from Supabase, or from the application that shows it in a frame.
"""

import ipaddress
from importlib.resources import files
from pathlib import PurePosixPath

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.errors import ConfigurationError
from shared.settings import PageSettings, SupabaseSettings

PAGES = files("workers.ingress") / "static"
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
FILES = ("app.js", "api.js", "card.js", "session.js", "words.js", "connect.css", "icon.svg")


class Page:
    """What is served to everybody.

    Raises:
        ConfigurationError: a password that would be told to everybody opens more than a local world.
    """

    def __init__(self, settings: PageSettings, supabase: SupabaseSettings) -> None:
        if settings.wpp_demo_user and not is_loopback(supabase.supabase_url.host):
            msg = (
                "cannot start: WPP_DEMO_USER is told to everybody who opens the page, so it is for local worlds only, "
                f"and SUPABASE_URL leads to {supabase.supabase_url.host}: unset it. See .env.example."
            )
            raise ConfigurationError(msg)
        self._settings = settings
        self._supabase = supabase

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/connect", self.file("connect.html"), methods=["GET"]),
            Route("/connect/settings.json", self.told),
            *(Route(f"/connect/{name}", self.file(name), methods=["GET"]) for name in FILES),
        ]

    def file(self, name: str) -> Response:
        """Return the answer with one file: the same to everybody."""
        kind = KINDS[PurePosixPath(name).suffix]
        return Response((PAGES / name).read_bytes(), media_type=kind, headers=self._headers)

    async def told(self, _request: Request) -> Response:
        """Tell where to sign in. The anonymous key is public by design: Supabase has every page send it."""
        demo = self._settings.wpp_demo_user
        email, _, password = demo.get_secret_value().partition(":") if demo else ("", "", "")
        told = {
            "supabase_url": str(self._supabase.supabase_url).rstrip("/"),
            "anon_key": self._supabase.supabase_anon_key.get_secret_value(),
            "parents": self._settings.wpp_page_parents.split(),
            "demo": {"email": email, "password": password} if email else None,
        }
        return JSONResponse(told, headers=self._headers)

    @property
    def _headers(self) -> dict[str, str]:
        url = self._supabase.supabase_url
        supabase = f"{url.scheme}://{url.host}:{url.port}"
        policy = {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' blob:",
            "connect-src": f"'self' {supabase}",
            "base-uri": "'none'",
            "form-action": "'self'",
            "frame-ancestors": f"'self' {self._settings.wpp_page_parents}".strip(),
        }
        return {
            "Content-Security-Policy": "; ".join(
                f"{name} {value}" for name, value in policy.items()
            ),
            "Cache-Control": "no-cache",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }


def is_loopback(host: str | None) -> bool:
    """Tell whether a URL's host is this machine by its very name or address."""
    try:
        return host == "localhost" or ipaddress.ip_address((host or "").strip("[]")).is_loopback
    except ValueError:
        return False

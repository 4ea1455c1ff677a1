"""GET /connect: the page on which a person connects WhatsApp numbers.

Static files without any key or token. The page asks `settings.json` where to sign in, and gets its
session from Supabase or from the application that embeds it in a frame.
"""

import ipaddress
from importlib.resources import files
from pathlib import PurePosixPath

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.errors import ConfigurationError
from shared.settings import PageSettings, SupabaseSettings

STATIC = files("workers.ingress") / "static"
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
FILES = (
    *("app.js", "api.js", "card.js", "history.js", "session.js", "test-message.js"),
    *("texts.js", "words.js", "connect.css", "icon.svg"),
)


class ConnectPage:
    """The routes of the page and its settings, readable without credentials.

    Raises:
        ConfigurationError: a remote Supabase has a demo user, although its password is public.
    """

    def __init__(self, settings: PageSettings, supabase: SupabaseSettings) -> None:
        if settings.wpp_demo_user and not is_loopback(supabase.supabase_url.host):
            msg = (
                "cannot start: WPP_DEMO_USER is shown to everyone who opens the page, so it is for "
                f"a local Supabase only, and SUPABASE_URL is at {supabase.supabase_url.host}: "
                "unset it. See .env.example."
            )
            raise ConfigurationError(msg)
        self._settings = settings
        self._supabase = supabase

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/connect", self._read_file("connect.html"), methods=["GET"]),
            Route("/connect/settings.json", self._get_settings),
            *(Route(f"/connect/{name}", self._read_file(name), methods=["GET"]) for name in FILES),
        ]

    def _read_file(self, name: str) -> Response:
        media_type = MEDIA_TYPES[PurePosixPath(name).suffix]
        return Response((STATIC / name).read_bytes(), media_type=media_type, headers=self._headers)

    async def _get_settings(self, _request: Request) -> Response:
        """Return where to sign in. The anonymous key of Supabase is public by design."""
        demo = self._settings.wpp_demo_user
        email, _, password = demo.get_secret_value().partition(":") if demo else ("", "", "")
        settings = {
            "supabase_url": str(self._supabase.supabase_url).rstrip("/"),
            "anon_key": self._supabase.supabase_anon_key.get_secret_value(),
            "parents": self._settings.wpp_page_parents.split(),
            "demo": {"email": email, "password": password} if email else None,
        }
        return JSONResponse(settings, headers=self._headers)

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
    """Return whether a URL's host is this machine: `localhost` or a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address((host or "").strip("[]")).is_loopback
    except ValueError:
        return False

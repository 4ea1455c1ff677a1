"""The static files and settings of the connect page."""

import httpx
import pytest
from pydantic import SecretStr

from shared.errors import ConfigurationError
from shared.settings import PageSettings, SupabaseSettings
from tests.fixtures.ingress_process import IngressProcess
from workers.ingress.connect_page import FILES, ConnectPage

DEMO = PageSettings(wpp_demo_user=SecretStr("demo@example.com:password"))


def supabase_at(url: str) -> SupabaseSettings:
    return SupabaseSettings.model_validate(
        {"supabase_url": url, "supabase_anon_key": "anon", "supabase_service_role_key": "service"}
    )


@pytest.mark.parametrize(
    "url", ["http://localhost:1", "http://127.0.0.1:1", "http://127.1.2.3:1", "http://[::1]:1"]
)
def test_a_local_supabase_may_have_a_demo_user(url: str) -> None:
    """It cannot be reached from other machines."""
    assert ConnectPage(DEMO, supabase_at(url)).routes


@pytest.mark.parametrize(
    "url",
    [
        "https://project.supabase.co",
        "http://10.0.0.7",
        "http://localhost.example.com",
        "http://0.0.0.0:1",
    ],
)
def test_a_remote_supabase_must_not_have_a_demo_user(url: str) -> None:
    """Its password would be public in /connect/settings.json."""
    with pytest.raises(ConfigurationError, match="WPP_DEMO_USER"):
        ConnectPage(DEMO, supabase_at(url))
    assert ConnectPage(PageSettings(), supabase_at(url)).routes


def test_files_have_strict_headers(ingress: IngressProcess) -> None:
    """Each has a content security policy, and is revalidated."""
    for name in ("", *(f"/{file}" for file in FILES)):
        answer = ingress.http.get(f"/connect{name}")
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["Content-Security-Policy"].startswith(
            "default-src 'none'; script-src 'self';"
        )
    assert ingress.http.get("/connect/conftest.py").status_code == 404


def test_settings_are_public_only(ingress: IngressProcess) -> None:
    """Where to sign in, with the anonymous key and without the service role's."""
    answer: httpx.Response = ingress.http.get("/connect/settings.json")
    assert answer.json() == {
        "supabase_url": "http://127.0.0.1:9",
        "anon_key": "anon",
        "parents": [],
        "demo": None,
    }

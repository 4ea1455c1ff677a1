"""What the page's server tells everybody, and refuses to tell."""

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
def test_a_local_world_has_a_demo_user(url: str) -> None:
    """Nobody else reaches it."""
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
def test_a_password_is_not_told_to_everybody(url: str) -> None:
    """A demo user of a real project would open it to whoever reads /connect/settings.json."""
    with pytest.raises(ConfigurationError, match="WPP_DEMO_USER"):
        ConnectPage(DEMO, supabase_at(url))
    assert ConnectPage(PageSettings(), supabase_at(url)).routes


def test_files_come_as_what_they_are(ingress: IngressProcess) -> None:
    """Each with a policy that lets nothing else in, and never in an old version."""
    for name in ("", *(f"/{file}" for file in FILES)):
        answer = ingress.http.get(f"/connect{name}")
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["Content-Security-Policy"].startswith(
            "default-src 'none'; script-src 'self';"
        )
    assert ingress.http.get("/connect/conftest.py").status_code == 404


def test_settings_tell_what_is_public_only(ingress: IngressProcess) -> None:
    """Where to sign in, with the anonymous key; nothing of the service role."""
    answer: httpx.Response = ingress.http.get("/connect/settings.json")
    assert answer.json() == {
        "supabase_url": "http://127.0.0.1:9",
        "anon_key": "anon",
        "parents": [],
        "demo": None,
    }

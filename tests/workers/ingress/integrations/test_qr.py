"""GET …/qr.png and …/qr.svg."""

import base64

import pytest

from tests.workers.ingress.tenants import Tenant

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ENCODED = base64.b64encode(PIXEL).decode()


def number_with(tenant: Tenant, code: str) -> str:
    path = tenant.add_integration("42", "starting")
    tenant.set_status("42", "qr_issued", qr=code)
    return path


def test_a_pairing_string_is_drawn(tenant: Tenant) -> None:
    """As PNG and SVG, with headers that forbid sniffing and caching."""
    path = number_with(tenant, "2@abc,def==")
    for kind, begins in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        answer = tenant.http.get(f"{path}/qr.{kind}")
        assert answer.content.startswith(begins)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (f"data:image/png;base64,{ENCODED}", "image/png"),
        (f"data:image/PNG;charset=utf-8;base64,{ENCODED.rstrip('=')}", "image/png"),
        (f"data:image/jpg;base64,{ENCODED[:40]}\n {ENCODED[40:]}", "image/jpeg"),
        (f"data:image/webp;base64,{ENCODED}", "image/webp"),
        (ENCODED, "image/png"),
    ],
)
def test_an_image_of_the_platform_is_passed_on(tenant: Tenant, given: str, kind: str) -> None:
    """As PNG, JPEG or WebP, and inside an SVG."""
    path = number_with(tenant, given)
    answer = tenant.http.get(f"{path}/qr.png")
    assert (answer.content, answer.headers["Content-Type"]) == (PIXEL, kind)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert f'href="data:{kind};base64,{ENCODED}"' in tenant.http.get(f"{path}/qr.svg").text


@pytest.mark.parametrize(
    "given",
    [
        "data:text/html;base64,PHNjcmlwdD4=",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "data:image/png,not base64",
        "data:image/png;base64,***",
        "data:image/png;base64,A",
        'data:image/png;base64,"/><script>',
        "x" * 5000,
    ],
)
def test_an_unusable_qr_code_is_404(tenant: Tenant, given: str) -> None:
    """The problem says how to get a new QR code; only images are passed on."""
    path = number_with(tenant, given)
    for kind in ("png", "svg"):
        answer = tenant.http.get(f"{path}/qr.{kind}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (
            404,
            "application/problem+json",
        )
        assert "refresh" in answer.json()["detail"]

"""The code to scan, as the door draws it or hands it on."""

import base64

import pytest

from tests.workers.ingress.tenants import Tenant

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ENCODED = base64.b64encode(PIXEL).decode()


def number_with(tenant: Tenant, code: str) -> str:
    place = tenant.number("42", "starting")
    tenant.become("42", "qr_issued", qr=code)
    return place


def test_a_pairing_string_is_drawn(tenant: Tenant) -> None:
    """As a PNG and as an SVG that keep their type, whatever a browser thinks that they are."""
    place = number_with(tenant, "2@abc,def==")
    for kind, begins in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        answer = tenant.http.get(f"{place}/qr.{kind}")
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
def test_a_picture_is_handed_on(tenant: Tenant, given: str, kind: str) -> None:
    """As what it is: PNG, JPEG or WebP; and inside a drawing."""
    place = number_with(tenant, given)
    answer = tenant.http.get(f"{place}/qr.png")
    assert (answer.content, answer.headers["Content-Type"]) == (PIXEL, kind)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert f'href="data:{kind};base64,{ENCODED}"' in tenant.http.get(f"{place}/qr.svg").text


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
def test_what_nobody_could_scan_is_said_so(tenant: Tenant, given: str) -> None:
    """A problem that says what to do; never a page of somebody else's making, never a 500."""
    place = number_with(tenant, given)
    for kind in ("png", "svg"):
        answer = tenant.http.get(f"{place}/qr.{kind}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (
            404,
            "application/problem+json",
        )
        assert "refresh" in answer.json()["detail"]

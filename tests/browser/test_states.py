"""Every state of a number on the page, in both languages and at both sizes: readable by everyone.

The files of the page come from the disk, its numbers from `IntegrationState`: no server is started.
"""

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
import segno
from playwright.sync_api import Browser, Page, Route, expect

from shared import causes
from shared.database import Integration
from shared.errors import InvalidApiKeyError, RefusedError, RouteMissingError
from shared.outcomes import SessionStatus
from shared.webhooks.sessions import ADVICE
from tests.browser.conftest import DESKTOP, PHONE, check_accessibility, take_screenshot
from workers.ingress.connect_page import MEDIA_TYPES, STATIC
from workers.ingress.integrations.schemas import IntegrationState

pytestmark = pytest.mark.browser

PAGE = "http://page.test/connect"
NOW = datetime.now(UTC).replace(microsecond=0)
SINCE = NOW - timedelta(hours=3)
LONG_NAME = (
    "Стоматологическая клиника доктора Преображенского-Константинопольского на Новослободской"
)
SETTINGS: dict[str, Any] = {
    "supabase_url": "http://page.test",
    "anon_key": "a",
    "parents": [],
    "demo": None,
}
SESSION = {"access_token": "t", "refresh_token": None, "expires_at": 4e9}
STATES: list[tuple[SessionStatus, str, str | None]] = [
    ("starting", causes.STARTED, None),
    ("starting", causes.RESTARTING, None),
    ("starting", "start: 503: the platform did not answer (ReadTimeout)", None),
    ("starting", "database_unavailable: away", None),
    ("qr_issued", "qr", None),
    ("connected", "connected", None),
    ("connected", causes.ACTIVE, None),
    ("degraded", causes.SILENT, None),
    ("disconnected", f"{causes.NOT_SCANNED}: autocloseCalled", None),
    ("disconnected", causes.UNLINKED, None),
    ("disconnected", causes.REPORTED_OFFLINE, None),
    ("disconnected", f"CONFLICT: {ADVICE['elsewhere']}", None),
    ("error", InvalidApiKeyError.code, "token: 403: Invalid API key"),
    ("error", f"banned: {ADVICE['blocked']}", "banned"),
    ("error", f"crashed: {ADVICE['failed']}", "crashed"),
    ("error", RefusedError.code, "start: 400: no"),
    ("error", RouteMissingError.code, "start: 404: the platform has no route"),
    ("error", "expired", "could not be done in time"),
    ("error", "internal_error", "ValueError"),
]
HISTORY: list[dict[str, Any]] = [
    {
        "at": (NOW - timedelta(hours=hours)).isoformat().replace("+00:00", "Z"),
        "status": "disconnected" if hours % 2 else "connected",
        "reason": "offline",
        "error": None,
        "account": "1",
        "cause": "offline" if hours % 2 else "connected",
    }
    for hours in range(70)
]
Show = Callable[..., Page]


def build_number(at: int, **changes: Any) -> dict[str, Any]:
    """Return a number as the API answers it."""
    defaults = {
        "id": UUID(int=at + 1),
        "organization_id": UUID(int=999),
        "name": f"{LONG_NAME} {at}" if at % 2 else f"Reception {at}",
        "account": f"{at:013d}",
        "is_primary": at == 0,
        "is_enabled": True,
        "phone": f"7999000{at:04d}",
        "status": "connected",
        "status_at": SINCE,
        "created_at": SINCE,
        "last_inbound_at": SINCE,
    }
    row = Integration.model_validate(defaults | changes)
    return IntegrationState.from_row(row).model_dump(mode="json")


def list_numbers() -> list[dict[str, Any]]:
    """Return a number in every state: those of its session, paused, held, refused and closing."""
    numbers = [
        build_number(
            at,
            status=status,
            status_reason=reason,
            last_error=error,
            last_error_at=SINCE if error else None,
            qr="2@abc" if status == "qr_issued" else None,
            qr_at=datetime.now(UTC) + timedelta(minutes=5) if status == "qr_issued" else None,
        )
        for at, (status, reason, error) in enumerate(STATES)
    ]
    held = build_number(50) | {"cause": "platform_away", "cause_at": SINCE.isoformat()}
    refused = build_number(51, last_error="token: 403: Invalid API key", last_error_at=NOW)
    paused, closing = build_number(52, is_enabled=False), build_number(53) | {"closing": True}
    return [*numbers, held, refused, paused, closing]


@pytest.fixture
def show(browser: Browser) -> Iterator[Show]:
    """Return a function that opens the page with numbers, in a size and a language."""
    contexts = []

    def show_(
        numbers: list[dict[str, Any]], size: dict[str, int] = DESKTOP, locale: str = "en-US"
    ) -> Page:
        context = browser.new_context(viewport=size, locale=locale)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(f"sessionStorage['wpp-session'] = '{json.dumps(SESSION)}'")
        page.route("http://page.test/**", lambda route: answer(route, numbers))
        page.goto(PAGE)
        page.locator("#numbers > li").nth(len(numbers) - 1).wait_for()
        return page

    yield show_
    for context in contexts:
        context.close()


def answer(route: Route, numbers: list[dict[str, Any]]) -> None:
    """Answer as the ingress does: with a file of the page, or about the numbers."""
    path = urlsplit(route.request.url).path
    name = path.removeprefix("/connect").removeprefix("/") or "connect.html"
    if path == "/connect/settings.json":
        route.fulfill(json=SETTINGS)
    elif path == "/v1/integrations":
        route.fulfill(json=numbers)
    elif path.endswith("/qr.svg"):
        code = io.BytesIO()
        segno.make("2@abc").save(code, kind="svg", omitsize=True)
        route.fulfill(body=code.getvalue(), content_type="image/svg+xml")
    elif path.endswith("/history"):
        until = parse_qs(urlsplit(route.request.url).query).get("until", ["9"])[0]
        route.fulfill(json=[each for each in HISTORY if each["at"] < until][:30])
    elif path.endswith("/events"):
        route.fulfill(status=204)
    else:
        media_type = MEDIA_TYPES[name[name.rindex(".") :]]
        route.fulfill(body=(STATIC / name).read_bytes(), content_type=media_type)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("locale", ["en-US", "ru-RU"])
def test_every_state_is_accessible_and_fits(show: Show, locale: str, size: dict[str, int]) -> None:
    """No rule of axe is broken, and nothing is wider than the screen."""
    page = show(list_numbers(), size, locale)
    page.wait_for_selector(".code img:visible")
    take_screenshot(page, f"states-{locale[:2]}-{size['width']}")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.evaluate(CUT_OFF) == []
    check_accessibility(page)


CUT_OFF = """[...document.querySelectorAll('button, .badge, h1, h2, p, summary')]
    .filter(each => each.offsetParent && each.scrollWidth > each.clientWidth + 1
        && getComputedStyle(each).display !== 'inline')
    .map(each => each.innerText)"""
"""The texts that are wider than their place."""


def test_no_scan_is_asked_for_without_a_code(show: Show) -> None:
    """While a code is prepared, its card says so; an outage is named."""
    page = show([build_number(0, status="starting"), *list_numbers()[2:3]])
    expect(page.get_by_text("Your QR code is being prepared").first).to_be_visible()
    expect(page.get_by_role("heading", name="Scan this QR code")).to_have_count(0)
    expect(page.locator(".how ol:visible")).to_have_count(0)
    expect(page.locator(".how-text", has_text="appears here, as soon as")).to_be_visible()


def test_older_history_is_shown_on_demand(show: Show) -> None:
    """Page by page until the first entry, each once."""
    page = show([build_number(0)], PHONE, "ru-RU")
    page.get_by_role("button", name="История").click()
    entries = page.locator(".history li")
    older = page.get_by_role("button", name="Показать более ранние записи")
    expect(entries).to_have_count(30)
    for count in (60, 70):
        older.click()
        expect(entries).to_have_count(count)
    expect(older).to_be_hidden()
    check_accessibility(page)


def test_an_outage_is_told_in_a_sentence(show: Show) -> None:
    """With what happens next: of the way to the server, and of its database."""
    page = show([build_number(0)])
    page.route("**/v1/integrations", lambda route: route.fulfill(status=503, json={"detail": "no"}))
    expect(page.get_by_text("Accepted messages are kept")).to_be_visible()
    page.route("**/v1/integrations", lambda route: route.abort())
    expect(page.get_by_text("It tries again by itself")).to_be_visible()
    page.unroute("**/v1/integrations")
    expect(page.locator("#offline")).to_be_hidden()

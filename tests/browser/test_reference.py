"""The API reference in a real browser."""

from playwright.sync_api import Browser, expect

from tests.browser.conftest import DESKTOP, take_screenshot
from tests.fixtures.api_document import list_operations
from tests.fixtures.system import System


def test_the_reference_lists_every_operation(browser: Browser, system: System) -> None:
    """Its policy is kept: the browser refuses nothing, and asks this server only."""
    context = browser.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{system.url}/docs/api")
    expect(page.locator(".opblock")).to_have_count(len(list_operations()))
    page.locator("#operations-messages-send_message .opblock-summary-control").click()
    expect(page.get_by_text("Your code is 1234").first).to_be_visible()
    take_screenshot(page, "reference")
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith((system.url, "data:"))] == []

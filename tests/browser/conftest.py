"""Fixtures of the browser tests: a real Chromium in front of the whole system."""

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import zxingcpp
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.fixtures.service_keys import store_operator_key
from tests.fixtures.system import SHORT_DELAYS, System, run_system

ARTEFACTS = Path(__file__).parents[2] / "artefacts"
PARENT = "http://crm.test"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-features=LocalNetworkAccessChecks",
)
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
WITHIN_MS = 15_000
"""How long a page may take to show what a test expects: it polls every 3 s, on a busy machine."""

Open = Callable[..., Page]


@pytest.fixture(scope="package")
def system(open_directory: Path) -> Iterator[System]:
    """Return the whole system, with an origin that may embed the page in a frame."""
    settings = {**SHORT_DELAYS, "WPP_PAGE_PARENTS": PARENT}
    with run_system(open_directory / "pages", settings) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Return Debian's Chromium. Without it the tests are skipped, except in CI, where they fail.

    Playwright runs an event loop in this thread while it is open, so it is closed after the tests
    of this folder.
    """
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        why = "there is no Chromium here: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    expect.set_options(timeout=WITHIN_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Return a function that opens an address: `visit(url, DESKTOP, "en-US")`.

    An error in the browser's console fails the test.
    """
    contexts, complaints = [], []

    def complain(text: str) -> None:
        """Note an error; what the server refused is told by the page, and by the browser."""
        if not re.search(r"status of (401|503)", text):
            complaints.append(text)

    def visit_(url: str, size: dict[str, int] | None = None, locale: str = "en-US") -> Page:
        context = browser.new_context(viewport=size or DESKTOP, locale=locale)  # type: ignore[arg-type]
        context.set_default_timeout(WITHIN_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complain(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complain(str(error)))
        page.goto(url)
        return page

    yield visit_
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def open_page(visit: Visit, system: System) -> Open:
    """Return a function that opens the page of numbers: `open_page(DESKTOP, "en-US")`."""
    return partial(visit, f"{system.url}/connect")


@pytest.fixture
def open_console(visit: Visit, system: System) -> Open:
    """Return a function that opens the console, signed in: `open_console(DESKTOP, "#lanes")`.

    With `signed_in=False` it opens the page on which operators sign in.
    """

    def open_(
        size: dict[str, int] | None = None, place: str = "", *, signed_in: bool = True
    ) -> Page:
        page = visit(f"{system.url}/console", size)
        if signed_in:
            page.get_by_label("Operator key").fill(store_operator_key(system.database_url))
            page.get_by_role("button", name="Sign in", exact=True).click()
            page.wait_for_url(f"{system.url}/console")
            page.goto(f"{system.url}/console{place}")
        return page

    return open_


def take_screenshot(page: Page, name: str) -> bytes:
    """Take a screenshot of the page, its animations ended, and save it among the artefacts."""
    ARTEFACTS.mkdir(exist_ok=True)
    path = ARTEFACTS / f"{name}.png"
    return page.screenshot(path=path, full_page=True, animations="disabled")


def check_accessibility(page: Page) -> None:
    """Hold the page as it is now against the rules of axe-core."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def decode_qr(png: bytes) -> str:
    """Return the text of the only QR code in a picture."""
    found = zxingcpp.read_barcodes(Image.open(io.BytesIO(png)))
    assert len(found) == 1, f"{len(found)} codes in the picture"
    text: str = found[0].text
    return text

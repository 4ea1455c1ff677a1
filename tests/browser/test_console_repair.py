"""An operator repairs in a real Chromium: puts a dead letter back, settles, drops, makes a key."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from psycopg.types.json import Jsonb

from shared import routing
from shared.events import Message
from tests.browser.conftest import DESKTOP, PHONE, check_accessibility, take_screenshot
from tests.fixtures.service_keys import store_operator_key
from tests.fixtures.system import System, connect_integration, texts_sent_to, wait_until_read
from tests.fixtures.waiting import wait_until

PEER = "79990008801"
PATIENCE_MS = 30_000
Open = Callable[..., Page]


@pytest.fixture
def open_signed_in(browser: Browser, system: System) -> Iterator[Open]:
    """Return a function that opens a page of the console, signed in with an operator key."""
    contexts = []

    def open_(place: str, size: dict[str, int]) -> Page:
        context = browser.new_context(viewport=size, locale="en-US")  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{system.url}/console/sign-in")
        page.get_by_label("Operator key").fill(store_operator_key(system.database_url))
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.wait_for_url(re.compile(r"/console(#.*)?$"))
        page.goto(f"{system.url}/console#{place}")
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def number(system: System) -> tuple[UUID, dict[str, Any]]:
    """Return an organization with a connected number."""
    organization_id = system.add_organization()
    return organization_id, connect_integration(system, organization_id)


def add_letter(system: System, number: tuple[UUID, dict[str, Any]], text: str) -> UUID:
    """Store the dead letter of a message; return its id."""
    organization_id, found = number
    item = routing.route_send(
        organization_id, UUID(found["integration_id"]), Message(to=PEER, text=text)
    )
    with psycopg.connect(system.database_url) as db:
        db.execute(
            "insert into wpp_dead_letters (id, organization_id, kind, lane, reason, detail, "
            "attempts, accepted_at, at, event) values (%s, %s, 'send', %s, 'expired', "
            "'the platform did not answer for a day', 3, now(), now(), %s)",
            (item.id, organization_id, item.lane, Jsonb(json.loads(item.body))),
        )
    return item.id


def agree_twice(page: Page, verb: str) -> str:
    """Press the button of the dialog, and again; return what it said first."""
    said = page.get_by_role("dialog").inner_text()
    page.get_by_role("dialog").get_by_role("button", name=verb, exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name=f"Yes, {verb.lower()}").click()
    return said


def row_of(page: Page, text: str) -> Locator:
    return page.locator("tbody tr").filter(has_text=text)


def fits(page: Page) -> bool:
    """Return whether nothing of the page is beyond its right edge."""
    found = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return bool(found)


def test_a_dead_letter_is_put_back_and_another_dropped(
    system: System, number: tuple[UUID, dict[str, Any]], open_signed_in: Open
) -> None:
    """The message arrives; the dialog says first that the recipient may get it twice."""
    organization_id, connected = number
    letter = add_letter(system, number, "Put back")
    page = open_signed_in(f"dead-letters?organization_id={organization_id}", DESKTOP)
    expect(row_of(page, "expired")).to_have_count(1)
    take_screenshot(page, "console-dead-letters")
    check_accessibility(page)
    row_of(page, "expired").get_by_role("button", name="Put back").click()
    assert "may get it twice" in agree_twice(page, "Put back")
    expect(page.get_by_text("No dead letters.")).to_be_visible()
    account = connected["account_number"]
    wait_until(lambda: texts_sent_to(system, account, PEER) == ["Put back"], "the message")
    page.goto(f"{system.url}/console#search?message={letter}")
    expect(page.get_by_role("list", name="Timeline")).to_contain_text("The platform took it")
    take_screenshot(page, "console-message")
    check_accessibility(page)
    add_letter(system, number, "Drop")
    page.goto(f"{system.url}/console#dead-letters?organization_id={organization_id}")
    row_of(page, "expired").get_by_role("button", name="Drop").click()
    page.get_by_label("Why").fill("the customer called")
    page.get_by_role("dialog").get_by_role("button", name="Drop", exact=True).click()
    agree_twice(page, "Drop")
    expect(page.get_by_text("No dead letters.")).to_be_visible()
    page.get_by_label("Show").select_option("Also closed ones")
    expect(row_of(page, "dropped by Olga: the customer called")).to_have_count(1)


def test_an_unknown_message_is_settled_on_a_phone(system: System, open_signed_in: Open) -> None:
    organization_id = system.add_organization()
    account = connect_integration(system, organization_id)["account_number"]
    with system.phone() as platform, system.service_client(organization_id) as crm:
        faults = {"drop_after": 1, "limit": 1, "paths": "^/api/messages/text$", "mute": True}
        platform.post("/admin/faults", json=faults).raise_for_status()
        sent = crm.post("/v1/messages", json={"to": f"+{PEER}", "text": "Perhaps"}).json()["id"]
        wait_until(lambda: read_status(crm, sent) == "unknown", "the message to be unknown")
        wait_until_read(system, account, PEER)
        platform.delete("/admin/faults").raise_for_status()
        page = open_signed_in(f"unknown?organization_id={organization_id}", PHONE)
        row = row_of(page, "+7 999 000 88 01")
        expect(row).to_have_count(1, timeout=PATIENCE_MS)
        assert fits(page)
        take_screenshot(page, "console-unknown-phone")
        check_accessibility(page)
        row.get_by_role("button", name="It arrived").click()
        assert "counts as sent" in agree_twice(page, "Settle as sent")
        expect(page.get_by_text("No message is unknown")).to_be_visible()
        known = {"sent", "delivered", "read"}  # the platform's reports apply to it now
        wait_until(lambda: read_status(crm, sent) in known, "the row to be settled")
    page.goto(f"{system.url}/console#search")
    page.get_by_label("Phone, id of a message, or organization").fill("8 (999) 000-88-01")
    page.get_by_role("button", name="Search").click()
    row_of(page, "Conversation").get_by_role("link").first.click()
    expect(page.get_by_role("table", name="Messages of the conversation")).to_be_visible()
    assert fits(page)
    take_screenshot(page, "console-conversation-phone")
    check_accessibility(page)


def read_status(crm: httpx.Client, message_id: str) -> str:
    return str(crm.get(f"/v1/messages/{message_id}").json()["status"])


def test_a_key_is_made_shown_once_and_revoked(system: System, open_signed_in: Open) -> None:
    organization_id = system.add_organization()
    page = open_signed_in("keys", DESKTOP)
    page.get_by_text("Create a key").click()
    page.get_by_label("Which service gets it").fill("browser-crm")
    page.get_by_label("For which organizations").fill(str(organization_id))
    page.get_by_label("messages: read").check()
    page.get_by_role("button", name="Create the key").click()
    key = page.locator("code.secret").inner_text()
    assert re.fullmatch(r"wpk_[\w-]{43}", key)
    take_screenshot(page, "console-key")
    check_accessibility(page)
    bearer = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{system.url}/v1/messages", headers=bearer).status_code == 200
    page.get_by_role("button", name="I have stored it").click()
    expect(page.get_by_text(key)).to_have_count(0)
    row_of(page, "browser-crm").get_by_role("button", name="Revoke").click()
    agree_twice(page, "Revoke")
    expect(row_of(page, "browser-crm")).to_contain_text("Revoked")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["1280", "390"])
@pytest.mark.parametrize("place", ["search", "unknown", "dead-letters", "webhooks", "callbacks"])
def test_every_page_fits_and_says_what_is_empty(
    open_signed_in: Open, place: str, size: dict[str, int]
) -> None:
    page = open_signed_in(f"{place}?organization_id={UUID(int=404)}", size)
    expect(page.get_by_role("search")).to_be_visible()
    if place != "search":
        expect(page.locator("main .nothing:visible").first).to_be_visible()
    assert fits(page)

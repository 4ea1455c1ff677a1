"""The page at /connect in a real browser; screenshots are saved in artefacts/."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Page, Request, Route, expect

from sandbox.supabase.seed import EMAIL, ORGANIZATION, PASSWORD
from tests.browser.conftest import (
    DESKTOP,
    PARENT,
    PHONE,
    Open,
    check_accessibility,
    decode_qr,
    take_screenshot,
)
from tests.fixtures.system import System, connect_integration
from tests.fixtures.waiting import wait_until

pytestmark = pytest.mark.browser

EMBEDDING = Path(__file__).parents[2] / "docs/embedding.md"
FOCUSED = "document.activeElement.innerText"
CODE = ".code img:visible"


@pytest.fixture(autouse=True)
def remove_numbers(system: System) -> Iterator[None]:
    """Start and end each test without numbers and without faults."""
    clear(system)
    yield
    clear(system)


def clear(system: System) -> None:
    with system.phone() as phone, system.service_client(ORGANIZATION) as crm:
        phone.delete("/admin/faults").raise_for_status()
        for each in crm.get("/v1/integrations").json():
            crm.delete(f"/v1/integrations/{each['integration_id']}")
        wait_until(lambda: crm.get("/v1/integrations").json() == [], "no number")


def sign_in(page: Page) -> None:
    page.get_by_role("button", name="Continue as the demo user").click()
    expect(page.locator("#panel")).to_be_visible()


def card(page: Page, status: str) -> Any:
    return page.locator(f"li[data-status={status}]")


def scan(page: Page, system: System, account: str) -> None:
    """Scan the QR code with the phone of the sandbox, in a separate tab."""
    phone = page.context.new_page()
    phone.goto(f"{system.environment['WPP_BASE_URL'].rstrip('/')}/phone/{account}")
    phone.get_by_role("button", name="Scan").click()
    expect(phone.get_by_text("connected")).to_be_visible()
    page.bring_to_front()


def connect_number(page: Page, system: System) -> str:
    """Connect a number on the page and return its account."""
    page.locator("#add-first:visible, #add:visible").first.click()
    wait_for_code(page)
    account = read_account(page)
    scan(page, system, account)
    expect(page.locator("li", has_text=account)).to_have_attribute("data-status", "connected")
    return account


def wait_for_code(page: Page) -> None:
    """Wait until the QR code is shown: its place is visible before its picture is loaded."""
    expect(page.locator(CODE)).to_have_js_property("complete", value=True)


def read_code(page: Page) -> str:
    """Return the text of the QR code that is shown."""
    wait_for_code(page)
    return decode_qr(page.locator(".code").screenshot(animations="disabled"))


def wait_for_focus(page: Page, text: str) -> None:
    """Wait until what has this text has the focus: the page sets it after its last request."""
    wait_until(lambda: page.evaluate(FOCUSED) == text, f"the focus on {text!r}")


def read_account(page: Page) -> str:
    """Return the account of the number that waits for its scan; it is among the details."""
    return page.locator("li.new code").text_content() or ""


def test_connect_repair_and_remove_without_a_reload(open_page: Open, system: System) -> None:
    """Two numbers are connected, one is repaired and removed; the page is never reloaded."""
    page = open_page(DESKTOP)
    take_screenshot(page, "1-sign-in")
    sign_in(page)
    take_screenshot(page, "2-no-number")
    page.evaluate("window.sameAsBefore = true")
    page.get_by_role("button", name="Connect WhatsApp").click()
    expect(page.get_by_role("heading", name="Scan this QR code")).to_be_visible()
    wait_for_code(page)
    with system.service_client(ORGANIZATION) as crm:
        shown = crm.get("/v1/integrations").json()[0]
    assert decode_qr(take_screenshot(page, "3-code")) == shown["qrcode"]
    scan(page, system, shown["account_number"])
    expect(page.get_by_text("WhatsApp is connected")).to_be_visible()
    expect(card(page, "connected")).to_have_count(1)
    take_screenshot(page, "4-connected")
    second = connect_number(page, system)
    expect(card(page, "connected")).to_have_count(2)
    expect(page.locator(".star:visible")).to_have_count(1)
    take_screenshot(page, "5-second-number")
    repair(page, system, second)
    remove(page, second)
    expect(page.locator("#numbers > li")).to_have_count(1)
    assert page.evaluate("window.sameAsBefore") is True


def test_the_phone_of_a_number_is_shown_once_it_is_known(open_page: Open, system: System) -> None:
    """It is large; the account, which says nothing to people, is a detail."""
    page = open_page(PHONE)
    sign_in(page)
    account = connect_number(page, system)
    shown = page.locator("li", has_text=account).locator(".phone")
    expect(shown).to_be_hidden()
    system.update("wpp_accounts", {"phone": "79990001122"}, account=account)
    page.reload()
    expect(shown).to_have_text("+7 999 000 11 22")
    take_screenshot(page, "9-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_test_message_and_the_history_are_shown_live(open_page: Open, system: System) -> None:
    """Its way to the own phone, a refusal in plain words; a change of the number as it happens."""
    page = open_page(PHONE)
    sign_in(page)
    account = connect_number(page, system)
    page.get_by_label("Your own phone number").fill("+7 999 000 11 22")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".way .done[data-step=read] span")).to_contain_text(re.compile(r"\d:\d"))
    expect(page.locator(".way .done")).to_have_count(4)
    take_screenshot(page, "10-test-message")
    refuse_messages(page)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_text("The WhatsApp service refused this message")).to_be_visible()
    expect(page.locator(".way-detail")).to_contain_text("is not on WhatsApp")
    page.keyboard.press("Escape")
    assert page.evaluate(FOCUSED) == "Send a test message"
    page.get_by_role("button", name="History").click()
    states = page.locator(".history li b")
    expect(states.first).to_have_text("Connected")
    with system.phone() as phone:
        phone.post(f"/phone/{account}/offline").raise_for_status()
    expect(states.first).to_have_text("Offline")
    take_screenshot(page, "11-history")


def refuse_messages(page: Page) -> None:
    """Press a button for a fault on the sandbox's phone, which is in the last tab."""
    phone = page.context.pages[-1]
    phone.bring_to_front()
    phone.get_by_role("button", name="Refuse messages to +79990001122").click()
    ends = phone.get_by_role("button", name="End: Refuse messages to +79990001122")
    expect(ends).to_have_attribute("aria-pressed", "true")
    take_screenshot(phone, "12-faults")
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    check_accessibility(phone)
    page.bring_to_front()


def repair(page: Page, system: System, account: str) -> None:
    """Unlink the phone, revoke the key, and repair the number with the buttons of the page."""
    broken = page.locator("li", has_text=account)
    with system.phone() as phone:
        phone.post("/admin/faults", json={"revoked_keys": [account]}).raise_for_status()
        phone.post(f"/phone/{account}/unlink").raise_for_status()
    expect(broken.get_by_text("The connection to the phone was lost")).to_be_visible()
    broken.get_by_role("button", name="Reconnect").click()
    expect(broken.get_by_text("refuses the key of this number")).to_be_visible()
    take_screenshot(page, "6-error")
    broken.get_by_role("button", name="Repair with a new key").click()
    wait_for_code(page)
    scan(page, system, account)
    expect(broken).to_have_attribute("data-status", "connected")


def remove(page: Page, account: str) -> None:
    """Decline the first question, then the second, then confirm both."""
    number = page.locator("li", has_text=account)
    question = page.get_by_role("dialog")
    for answers, left in (
        (("Cancel",), 1),
        (("Remove", "Cancel"), 1),
        (("Remove", "Yes, remove it"), 0),
    ):
        number.get_by_role("button", name="Remove").click()
        expect(question).to_contain_text("Kept: all conversations")
        take_screenshot(page, "7-question")
        for answer in answers:
            question.get_by_role("button", name=answer).click()
        expect(number).to_have_count(left)


def test_on_a_phone_in_russian_and_cancelled(open_page: Open, system: System) -> None:
    """At 390 px nothing is cut off, the QR code can be scanned, and Cancel removes the number."""
    page = open_page(PHONE, "ru-RU")
    page.get_by_role("button", name="Войти как демо-пользователь").click()
    page.get_by_role("button", name="Подключить WhatsApp").click()
    wait_for_code(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert decode_qr(take_screenshot(page, "8-phone")).startswith("2@")
    account = read_account(page)
    page.get_by_role("button", name="Отмена").click()
    expect(page.get_by_text("Номеров пока нет")).to_be_visible()
    with system.phone() as phone:
        accounts = phone.get("/phone", headers={"Accept": "application/json"}).json()["accounts"]
    assert [each["status"] for each in accounts if each["session"] == account] == ["offline"]
    assert system.rows("messenger_integrations", organization_id=str(ORGANIZATION)) == []


def test_the_qr_code_survives_a_reload_and_is_renewed(open_page: Open, system: System) -> None:
    """The state comes from the server; a new QR code replaces it."""
    page = open_page()
    sign_in(page)
    page.get_by_role("button", name="Connect WhatsApp").click()
    wait_for_code(page)
    page.reload()
    first = read_code(page)
    account = read_account(page)
    with system.phone() as phone:  # the platform issues a new QR code, as it does every 20 s
        phone.post(f"/phone/{account}/offline").raise_for_status()
    expired = card(page, "disconnected")
    expect(expired.get_by_text("The QR code was not scanned in time")).to_be_visible()
    expired.get_by_role("button", name="Show a new QR code").click()
    assert read_code(page) != first


def test_without_the_stream_the_page_polls(open_page: Open, system: System) -> None:
    """A proxy that blocks the stream delays changes by three seconds."""
    page = open_page()
    page.route("**/v1/integrations/events", lambda route: route.fulfill(status=204))
    sign_in(page)
    connect_number(page, system)


def test_a_hidden_page_sends_no_requests(open_page: Open) -> None:
    """It is up to date again as soon as it is visible."""
    page = open_page()
    sign_in(page)
    asked: list[str] = []
    page.wait_for_timeout(500)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    page.wait_for_timeout(4000)
    assert asked == []
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true})")
    with page.expect_request("**/v1/integrations/events"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_keyboard_and_screen_reader(open_page: Open, system: System) -> None:
    """Every control has a name, the focus follows the task, and changes are announced."""
    page = open_page()
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Connect WhatsApp").focus()
    page.keyboard.press("Enter")
    wait_for_code(page)
    wait_for_focus(page, "Cancel")
    expect(page.get_by_role("img", name="QR code to connect")).to_be_visible()
    expect(page.locator("#announcement")).to_contain_text("ready to scan")
    nameless = (
        "[...document.querySelectorAll('button')]"
        ".filter(b => b.offsetParent && !(b.ariaLabel || b.innerText.trim()))"
    )
    assert page.evaluate(f"{nameless}.length") == 0
    scan(page, system, read_account(page))
    for verb in ("Pause", "Remove"):
        page.get_by_role("button", name=verb).focus()
        page.keyboard.press("Enter")
        assert page.evaluate(FOCUSED) == "Cancel"
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert page.evaluate(FOCUSED) == verb, "the focus is back"
    expect(card(page, "connected")).to_have_count(1)
    expect(page.locator(".badge.off")).to_be_hidden()


def test_a_wrong_password_shows_an_error(open_page: Open) -> None:
    """The panel behind the sign-in stays hidden."""
    page = open_page()
    page.route("**/auth/v1/token*", refuse)
    page.get_by_label("E-mail").fill("unknown@example.com")
    page.get_by_label("Password").fill("guessed wrongly")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Incorrect")
    check_accessibility(page)
    expect(page.locator("#panel")).to_be_hidden()


def refuse(route: Route) -> None:
    answer = route.fetch()
    assert answer.status == 400
    route.fulfill(
        status=401, body=answer.body()
    )  # the console's own complaint about a 400 is no fault of the page


def test_typing_a_name_survives_an_update(open_page: Open, system: System) -> None:
    """The text in the field is kept while the page updates, and is saved."""
    page = open_page()
    sign_in(page)
    connect_number(page, system)
    page.get_by_role("button", name="Rename").click()
    page.get_by_label("Name of this number").fill("Front desk")
    with system.service_client(ORGANIZATION) as crm:
        number = crm.get("/v1/integrations").json()[0]["integration_id"]
        crm.patch(f"/v1/integrations/{number}", json={"is_enabled": False}).raise_for_status()
    expect(page.get_by_text("Paused", exact=True)).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Front desk")).to_be_visible()


WORDS = {
    "en-US": (
        "Continue as",
        "History",
        "Your organization paused it",
        "resumed it: it sends again",
    ),
    "ru-RU": ("Войти как", "История", "поставила", "снова отправляет"),
}
"""For signing in, opening a history, and a pause and its end in it."""


@pytest.mark.parametrize("locale", WORDS)
def test_a_pause_stands_in_the_history(open_page: Open, system: System, locale: str) -> None:
    """Live, while the history is open, on a phone too."""
    demo, history, paused, resumed = WORDS[locale]
    connected = connect_integration(system, ORGANIZATION)
    number = connected["integration_id"]
    page = open_page(PHONE, locale)
    page.get_by_role("button", name=demo).click()
    shown = page.locator("#numbers > li").filter(has_text=connected["account_number"])
    shown.get_by_role("button", name=history).click()
    with system.service_client(ORGANIZATION) as crm:
        crm.patch(f"/v1/integrations/{number}", json={"is_enabled": False}).raise_for_status()
        expect(shown.locator(".history li", has_text=paused)).to_have_count(1)
        crm.patch(f"/v1/integrations/{number}", json={"is_enabled": True}).raise_for_status()
    expect(shown.locator(".history li", has_text=resumed)).to_have_count(1)
    check_accessibility(page)
    take_screenshot(page, f"connect-pause-{locale}")


def test_an_application_embeds_the_page_with_its_session(open_page: Open, system: System) -> None:
    """The documented code works without a second sign-in, from an allowed origin only.

    The session is not stored: the next page in this tab starts without one.
    """
    page = open_page()
    signed_in = httpx.post(
        f"{system.environment['SUPABASE_URL'].rstrip('/')}/auth/v1/token?grant_type=password",
        json={"email": EMAIL, "password": PASSWORD},
        headers={"apikey": system.environment["SUPABASE_ANON_KEY"]},
    ).json()
    (shown,) = re.findall(r"```html\n(.*?)```", EMBEDDING.read_text(), re.DOTALL)
    client = f"""<script>const session = {{access_token: "{signed_in["access_token"]}"}};
        const supabase = {{auth: {{getSession: async () => ({{data: {{session}}}})}}}};</script>"""
    html = client + shown.replace("https://whatsapp.example.com", system.url)
    page.route(f"{PARENT}/**", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(f"{PARENT}/settings")
    expect(
        page.frame_locator("iframe").get_by_role("button", name="Connect WhatsApp")
    ).to_be_visible()
    policy = httpx.get(f"{system.url}/connect").headers["Content-Security-Policy"]
    assert f"frame-ancestors 'self' {PARENT}" in policy
    page.route(
        f"{PARENT}/other",
        lambda route: route.fulfill(body=embed_without_session(system), content_type="text/html"),
    )
    page.goto(f"{PARENT}/other")
    expect(page.frame_locator("iframe").locator("#waiting-for-session")).to_be_visible()
    expect(page.frame_locator("iframe").locator("#panel")).to_be_hidden()


def embed_without_session(system: System) -> str:
    """Return a page of the application that hands over no session, as after a sign-out."""
    return f'<iframe title="WhatsApp" src="{system.url}/connect"></iframe>'


def test_the_page_contains_no_secret(open_page: Open, system: System) -> None:
    """Neither the public files nor the page of a signed-in user contain a key or a token."""
    page = open_page()
    sign_in(page)
    connect_number(page, system)
    page.get_by_role("button", name="History").click()
    with psycopg.connect(system.database_url) as connection:
        ((settings,),) = connection.execute(
            "select secrets from wpp.integration_secrets"
        ).fetchall()
    secrets = [
        settings["wppApiKey"],
        system.environment["SUPABASE_SERVICE_ROLE_KEY"],
        system.environment["WPP_SECRET"],
    ]
    served = [
        httpx.get(f"{system.url}/connect{name}").text
        for name in ("", "/app.js", "/session.js", "/settings.json")
    ]
    for text in [page.content(), *served]:
        assert not [secret for secret in secrets if secret in text]
    assert system.environment["SUPABASE_ANON_KEY"] not in "".join([page.content(), *served[:3]])
    assert page.evaluate("sessionStorage['wpp-session']").split('"')[3] not in page.content()

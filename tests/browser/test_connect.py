"""The page at /connect, as a person uses it: seen in a real browser, kept as pictures in artefacts/."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Page, Request, Route, expect

from sandbox.supabase.seed import EMAIL, ORGANIZATION, PASSWORD
from tests.browser.conftest import DESKTOP, PARENT, PHONE, Open, decoded, picture
from tests.fixtures.system import System
from tests.fixtures.waiting import wait_until

pytestmark = pytest.mark.browser

EMBEDDING = Path(__file__).parents[2] / "docs/embedding.md"
FOCUSED = "document.activeElement.innerText"
CODE = ".code img:visible"


@pytest.fixture(autouse=True)
def no_numbers(system: System) -> Iterator[None]:
    """Let each test begin, and leave, without numbers and without faults."""
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
    """Take the phone: the sandbox's own page, in a tab of its own."""
    phone = page.context.new_page()
    phone.goto(f"{system.environment['WPP_BASE_URL'].rstrip('/')}/phone/{account}")
    phone.get_by_role("button", name="Scan").click()
    expect(phone.get_by_text("connected")).to_be_visible()
    page.bring_to_front()


def connected(page: Page, system: System) -> str:
    """Press Connect, scan, and return the account when the page says that it is connected."""
    page.locator("#add-first:visible, #add:visible").first.click()
    page.wait_for_selector(CODE)
    account = page.locator("li.new code").inner_text()
    scan(page, system, account)
    expect(page.locator("li", has_text=account)).to_have_attribute("data-status", "connected")
    return account


def test_from_one_click_to_the_last(open_page: Open, system: System) -> None:
    """Connect, scan, a second number, a broken one mended, disconnected: all on one page that is never reloaded."""
    page = open_page(DESKTOP)
    picture(page, "1-sign-in")
    sign_in(page)
    picture(page, "2-no-number")
    page.evaluate("window.sameAsBefore = true")
    page.get_by_role("button", name="Connect WhatsApp").click()
    expect(page.get_by_role("heading", name="Scan this code")).to_be_visible()
    page.wait_for_selector(CODE)
    with system.service_client(ORGANIZATION) as crm:
        shown = crm.get("/v1/integrations").json()[0]
    assert decoded(picture(page, "3-code")) == shown["qrcode"]
    scan(page, system, shown["account_number"])
    expect(page.get_by_text("WhatsApp is connected")).to_be_visible()
    expect(card(page, "connected")).to_have_count(1)
    picture(page, "4-connected")
    second = connected(page, system)
    expect(card(page, "connected")).to_have_count(2)
    expect(page.locator(".star:visible")).to_have_count(1)
    picture(page, "5-second-number")
    mend(page, system, second)
    disconnect(page, second)
    expect(page.locator("#numbers > li")).to_have_count(1)
    assert page.evaluate("window.sameAsBefore") is True


def mend(page: Page, system: System, account: str) -> None:
    """Lose the phone, find the key refused, and repair it with what the page offers."""
    broken = page.locator("li", has_text=account)
    with system.phone() as phone:
        phone.post("/admin/faults", json={"revoked_keys": [account]}).raise_for_status()
        phone.post(f"/phone/{account}/unlink").raise_for_status()
    broken.get_by_role("button", name="Connect again").click()
    expect(broken.get_by_text("The key of this number is no longer valid")).to_be_visible()
    picture(page, "6-error")
    broken.get_by_role("button", name="Repair with a new key").click()
    page.wait_for_selector(CODE)
    scan(page, system, account)
    expect(broken).to_have_attribute("data-status", "connected")


def disconnect(page: Page, account: str) -> None:
    """Be asked, keep it; be asked again, and let it go."""
    number = page.locator("li", has_text=account)
    for answer, left in (("Keep it", 1), ("Disconnect", 0)):
        number.get_by_role("button", name="Disconnect").click()
        question = page.get_by_role("dialog")
        expect(question).to_contain_text("Its messages stay")
        picture(page, "7-question")
        question.get_by_role("button", name=answer).click()
        expect(number).to_have_count(left)


def test_on_a_phone_in_russian_and_cancelled(open_page: Open, system: System) -> None:
    """At 390 px nothing is cut off, the code is read from the picture, and Cancel leaves nothing behind."""
    page = open_page(PHONE, "ru-RU")
    page.get_by_role("button", name="Войти как демо-пользователь").click()
    page.get_by_role("button", name="Подключить WhatsApp").click()
    page.wait_for_selector(CODE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert decoded(picture(page, "8-phone")).startswith("2@")
    account = page.locator("li.new code").inner_text()
    page.get_by_role("button", name="Отмена").click()
    expect(page.get_by_text("Номеров пока нет")).to_be_visible()
    with system.phone() as phone:
        accounts = phone.get("/phone", headers={"Accept": "application/json"}).json()["accounts"]
    assert [each["status"] for each in accounts if each["session"] == account] == ["offline"]
    assert system.rows("messenger_integrations", organization_id=str(ORGANIZATION)) == []


def test_the_code_is_there_after_a_reload_and_renews_itself(
    open_page: Open, system: System
) -> None:
    """What the page shows comes from the server: nothing is lost with the tab, a new code takes the old one's place."""
    page = open_page()
    sign_in(page)
    page.get_by_role("button", name="Connect WhatsApp").click()
    page.wait_for_selector(CODE)
    page.reload()
    page.wait_for_selector(CODE)
    first = decoded(page.locator(".code").screenshot())
    account = page.locator("li.new code").inner_text()
    with system.phone() as phone:  # the platform shows another one, as it does every 20 s
        phone.post(f"/phone/{account}/offline").raise_for_status()
    card(page, "disconnected").get_by_role("button", name="Connect again").click()
    page.wait_for_selector(CODE)
    assert decoded(page.locator(".code").screenshot()) != first


def test_without_the_stream_the_page_asks_every_three_seconds(
    open_page: Open, system: System
) -> None:
    """A proxy that lets no stream through costs seconds, not the state."""
    page = open_page()
    page.route("**/v1/integrations/events", lambda route: route.fulfill(status=204))
    sign_in(page)
    connected(page, system)


def test_nothing_is_asked_while_nobody_looks(open_page: Open) -> None:
    """A hidden tab is quiet, and is up to date at once when it is seen again."""
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


def test_the_keyboard_and_a_screen_reader_find_their_way(open_page: Open, system: System) -> None:
    """Every control has a name, the focus goes where the work is, and what changes is said."""
    page = open_page()
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Connect WhatsApp").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(CODE)
    assert page.evaluate(FOCUSED) == "Cancel"
    expect(page.get_by_role("img", name="QR code that connects")).to_be_visible()
    expect(page.locator("#told")).to_contain_text("ready to be scanned")
    nameless = "[...document.querySelectorAll('button')].filter(b => b.offsetParent && !(b.ariaLabel || b.innerText.trim()))"
    assert page.evaluate(f"{nameless}.length") == 0
    scan(page, system, page.locator("li.new code").inner_text())
    page.get_by_role("button", name="Disconnect").focus()
    page.keyboard.press("Enter")
    assert page.evaluate(FOCUSED) == "Keep it"
    page.keyboard.press("Escape")
    expect(card(page, "connected")).to_have_count(1)


def test_a_wrong_password_is_said(open_page: Open) -> None:
    """And nothing of the page behind it is shown."""
    page = open_page()
    page.route("**/auth/v1/token*", refuse)
    page.get_by_label("E-mail").fill("nobody@example.com")
    page.get_by_label("Password").fill("guessed wrongly")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not fit")
    expect(page.locator("#panel")).to_be_hidden()


def refuse(route: Route) -> None:
    answer = route.fetch()
    assert answer.status == 400
    route.fulfill(
        status=401, body=answer.body()
    )  # the console's own complaint about a 400 is no fault of the page


def test_a_name_can_be_changed_while_the_page_lives_on(open_page: Open, system: System) -> None:
    """What somebody types is not lost to an update, and is saved."""
    page = open_page()
    sign_in(page)
    connected(page, system)
    page.get_by_role("button", name="Rename").click()
    page.get_by_label("Name of this number").fill("Front desk")
    with system.service_client(ORGANIZATION) as crm:
        number = crm.get("/v1/integrations").json()[0]["integration_id"]
        crm.patch(f"/v1/integrations/{number}", json={"is_enabled": False}).raise_for_status()
    expect(page.get_by_text("Switched off")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Front desk")).to_be_visible()


def test_an_application_shows_the_page_in_a_frame_and_hands_over_its_session(
    open_page: Open, system: System
) -> None:
    """No second sign-in, with the lines that the documentation gives; only an origin that is named may do so.

    The session is not kept: who comes next in this tab is nobody until the application says who.
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
        lambda route: route.fulfill(body=shown_to_nobody(system), content_type="text/html"),
    )
    page.goto(f"{PARENT}/other")
    expect(page.frame_locator("iframe").locator("#handed")).to_be_visible()
    expect(page.frame_locator("iframe").locator("#panel")).to_be_hidden()


def shown_to_nobody(system: System) -> str:
    """Return a page of the application that hands over no session: somebody has signed out there."""
    return f'<iframe title="WhatsApp" src="{system.url}/connect"></iframe>'


def test_the_page_holds_no_secret(open_page: Open, system: System) -> None:
    """Neither what is served to everybody, nor what a signed-in person's page shows, has a key or a token."""
    page = open_page()
    sign_in(page)
    connected(page, system)
    page.get_by_role("button", name="History").click()
    with psycopg.connect(system.database_url) as connection:
        ((settings,),) = connection.execute(
            "select settings from messenger_integrations"
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

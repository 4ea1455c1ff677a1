"""The console in a real browser: sign in, and find why messages wait. Screenshots in artefacts/."""

import re
from uuid import UUID

import httpx
import psycopg
import pytest
import redis
from playwright.sync_api import Page, expect

from sandbox.supabase.seed import ORGANIZATION
from shared import activity, routing
from shared.activity import MINUTE_MS, MINUTES, Activity, Minute, Totals
from shared.lanes.client import Lanes
from shared.processes import now_ms
from shared.redis import keys
from shared.settings import EngineSettings
from tests.browser.conftest import DESKTOP, PHONE, Open, check_accessibility, take_screenshot
from tests.fixtures.service_keys import store_operator_key
from tests.fixtures.system import System, connect_integration
from tests.fixtures.waiting import wait_until

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"
REFUSED = "the platform refused the API key: repair the number with a new key"


@pytest.fixture(scope="module")
def held(system: System) -> str:
    """Return the id of a number whose message is held because its gate is closed."""
    number = connect_integration(system, ORGANIZATION)["integration_id"]
    with redis.Redis.from_url(system.environment["REDIS_URL"]) as client:
        lanes = Lanes(client, EngineSettings())
        lanes.close_gate(routing.integration_gate(UUID(number)), 3600, REFUSED)
        with system.service_client(ORGANIZATION) as crm:
            body = {"to": "+79990001122", "text": "Hello", "integration_id": number}
            assert crm.post("/v1/messages", json=body).status_code == 202
    return str(number)


def test_a_wrong_key_is_refused(open_console: Open, system: System) -> None:
    """The page says so, and the right one signs in; signing out ends it."""
    page = open_console(DESKTOP, signed_in=False)
    take_screenshot(page, "console-1-sign-in")
    check_accessibility(page)
    page.get_by_label("Operator key").fill("wpo_" + 43 * "x")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("neither an operator key")
    page.get_by_label("Operator key").fill(store_operator_key(system.database_url))
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.locator("#live")).to_have_text("Live")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(f"{system.url}/console")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize(("size", "name"), [(DESKTOP, "desk"), (PHONE, "phone")])
def test_why_the_messages_of_a_number_wait(
    open_console: Open, held: str, size: dict[str, int], name: str
) -> None:
    """From the overview to the held lane and its reason, at a desk and on a phone."""
    page = open_console(size)
    expect(page.get_by_text("Held lanes")).to_be_visible()
    take_screenshot(page, f"console-2-overview-{name}")
    check_page(page, size)
    page.get_by_role("link", name="Numbers", exact=True).click()
    expect(page.locator(f"[data-number='{held}']")).to_be_visible()
    page.locator(f"[data-number='{held}']").click()
    expect(page.locator(".changes li").first).to_be_visible()
    row = page.locator("tbody tr", has=page.locator(f"[data-number='{held}']"))
    expect(row.get_by_role("link", name="What waits of")).to_be_visible()
    take_screenshot(page, f"console-3-numbers-{name}")
    check_page(page, size)
    page.get_by_role("link", name="Why do its messages wait?").click()
    expect(page.locator(".answer")).to_contain_text(REFUSED)
    expect(page.locator(".tag", has_text="Held").first).to_be_visible()
    expect(page.get_by_role("link", name="WhatsApp").first).to_be_visible()
    take_screenshot(page, f"console-4-lanes-{name}")
    check_page(page, size)


def check_page(page: Page, size: dict[str, int]) -> None:
    """Hold that nothing is cut off, and that the page is accessible."""
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    check_accessibility(page)


@pytest.fixture(scope="module")
def busy(system: System) -> str:
    """Return an organization with an hour behind it: failures, and messages that wait."""
    organization_id = str(system.add_organization())
    with psycopg.connect(system.database_url) as db:
        db.execute(
            "update organizations set name = 'School of Music' where id = %s", (organization_id,)
        )
    with redis.Redis.from_url(system.environment["REDIS_URL"]) as client:
        client.delete(keys.MINUTES)
        end_ms = now_ms(client) // MINUTE_MS * MINUTE_MS
        for ago in range(MINUTES, -1, -1):
            activity.add_minute(client, make_minute(end_ms - ago * MINUTE_MS, ago, organization_id))
    return organization_id


def make_minute(at_ms: int, ago: int, organization_id: str) -> Minute:
    """Return a minute of an hour in which ever more is sent."""
    gone = MINUTES - ago
    mine = Activity(gone, gone, gone % 9 == 8, 0, 40 if ago < 5 else 0, 400.0 if ago < 5 else 0)
    calm = {str(UUID(int=each)): Activity(gone % 4, gone % 4) for each in range(1, 4)}
    return Minute(
        at_ms=at_ms,
        totals={
            "send": Totals(gone**2 / 2 + 5, gone**2 / 2, gone // 9, 0),
            "webhook": Totals(gone * 30 + gone % 7 * 4 + 9, gone * 30 + gone % 7 * 4, 0, 0),
        },
        waiting={"send": 40 if ago < 5 else 0},
        oldest_s={"send": 400 - ago * 60 if ago < 5 else 0},
        organizations={organization_id: mine, **calm},
        others=Activity(),
    )


@pytest.mark.parametrize(("size", "name"), [(DESKTOP, "desk"), (PHONE, "phone")])
def test_the_last_hour_and_who_is_hurt(
    open_console: Open, busy: str, size: dict[str, int], name: str
) -> None:
    """Charts say in words what they show; the organization with failures comes first, by name."""
    page = open_console(size)
    chart = page.get_by_role("img", name=re.compile("Messages in the last hour: .* accepted"))
    expect(chart).to_be_visible()
    expect(page.get_by_text("Nothing happened: ")).to_contain_text("files")
    table = page.get_by_role("table", name="Organizations in the last hour")
    first = table.locator("tbody tr").first
    expect(first).to_contain_text("School of Music")
    expect(first.get_by_role("img", name=re.compile("Sent by minute"))).to_be_visible()
    expect(first.get_by_role("link", name="School of Music")).to_have_attribute("title", busy)
    take_screenshot(page, f"console-5-hour-{name}")
    check_page(page, size)
    first.get_by_role("cell").nth(1).get_by_role("link").click()
    expect(page).to_have_url(re.compile(f"#dead-letters.organization_id={busy}$"))


def test_an_organization_is_chosen_by_its_name(open_console: Open, busy: str) -> None:
    """A part of the name suffices; a name of none is told at the field."""
    page = open_console(DESKTOP, "#unknown")
    field = page.get_by_role("combobox", name="Organization")
    field.fill("No such school")
    page.get_by_role("button", name="Show").click()
    wait_until(lambda: field.evaluate("element => element.validationMessage"), "the field to tell")
    assert field.evaluate("element => element.validationMessage") == "No organization is named so."
    expect(page).to_have_url(re.compile("#unknown$"))
    field.fill("of music")
    expect(page.locator("datalist option")).to_have_attribute("value", busy)
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile(f"organization_id={busy}$"))
    page.get_by_role("link", name="Numbers", exact=True).click()
    page.get_by_role("combobox", name="Organization").fill("School of Music")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(f"#numbers.organization={busy}$"))
    expect(page.get_by_text("No number matches.")).to_be_visible()
    check_page(page, DESKTOP)


def test_a_lost_connection_is_told_with_its_time(open_console: Open) -> None:
    """What is shown stays, and says from when it is."""
    page = open_console(DESKTOP)
    expect(page.locator("#live")).to_have_text("Live")
    page.route("**/console/data/**", lambda route: route.fulfill(status=503, body="{}"))
    expect(page.locator("#lost")).to_contain_text("No news since")
    expect(page.get_by_text("Held lanes")).to_be_visible()
    page.unroute("**/console/data/**")
    expect(page.locator("#lost")).to_be_hidden()


def test_an_operator_signs_in_by_e_mail(open_console: Open, system: System) -> None:
    """A user of Supabase with the role. Who lacks it is told so; the browser keeps no token."""
    emails = [f"{name}@example.com" for name in ("operator", "member")]
    url, key = (system.environment[name] for name in ("SUPABASE_URL", "SUPABASE_ANON_KEY"))
    with httpx.Client(base_url=url, headers={"apikey": key}, trust_env=False) as http:
        for email in emails:
            answer = http.post("/auth/v1/signup", json={"email": email, "password": PASSWORD})
            answer.raise_for_status()
    with psycopg.connect(system.database_url) as db:
        db.execute(
            "update auth.users set raw_app_meta_data = %s where email = %s",
            ('{"wpp_role": "operator"}', emails[0]),
        )
    page = open_console(PHONE, signed_in=False)
    page.get_by_text("Sign in with an account").click()

    def attempt(email: str, password: str) -> None:
        page.get_by_label("E-mail").fill(email)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in with the account").click()

    attempt(emails[1], PASSWORD)
    expect(page.get_by_role("alert")).to_contain_text("role of an operator")
    attempt(emails[0], PASSWORD)
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator("#who")).to_have_text(emails[0])
    assert page.context.cookies()[0]["httpOnly"]
    assert page.evaluate("JSON.stringify([localStorage, sessionStorage])") == "[{},{}]"

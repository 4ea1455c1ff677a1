"""The phone's pages, as a person uses them: links and forms, no JSON."""

import httpx
import pytest

from tests.fixtures.waiting import wait_until
from tests.sandbox.platform.conftest import Number, Platform, Receiver


@pytest.fixture
def person(platform: Platform) -> httpx.Client:
    platform.http.follow_redirects = True
    return platform.http


def test_the_first_page_lists_the_phones(person: httpx.Client, number: Number) -> None:
    page = person.get("/").text
    assert f'href="/phone/{number.session}"' in page
    assert "connected" in page


def test_a_person_scans_the_qr_code_and_is_connected(
    platform: Platform, person: httpx.Client
) -> None:
    number = platform.number()
    assert "waits to be started" in person.get(f"/phone/{number.session}").text
    number.start()
    wait_until(number.qr)
    page = person.get(f"/phone/{number.session}").text
    assert "<svg" in page
    assert "<button>Scan</button>" in page
    linked = person.post(f"/phone/{number.session}/scan", data={"x": "y"})
    assert "Write as a customer" in linked.text
    assert number.status() == "connected"


def test_a_person_writes_as_a_customer_and_answers(
    person: httpx.Client, number: Number, receiver: Receiver
) -> None:
    """Each form leads back to the conversation, and both messages are webhooks."""
    path = f"/phone/{number.session}"
    form = {"from": "+7 999 000-11-22", "name": "Ann", "text": "Hello", "image": "1"}
    page = person.post(f"{path}/messages", data=form)
    assert page.url.query == b"peer=79990001122"
    assert "Ann" in page.text
    assert "data:image/png;base64," in page.text
    assert (
        "Answered"
        in person.post(f"{path}/echo", data={"to": "79990001122", "text": "Answered"}).text
    )
    assert [body["type"] for body in receiver.wait(2)] == ["image", "chat"]


def test_the_page_shows_what_was_sent_and_how_far_it_got(
    person: httpx.Client, number: Number, receiver: Receiver
) -> None:
    number.send("<b>From the API</b>")
    receiver.wait(3)
    page = person.get(f"/phone/{number.session}").text
    assert "&lt;b&gt;From the API&lt;/b&gt;" in page
    assert '<i class="read">' in page


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        ("image", {"url": "https://a.example/i.png"}, '<img alt="https://a.example/i.png" src'),
        ("file", {"url": "https://a.example/v", "filename": "v.mp4"}, "<video controls"),
        ("file", {"url": "https://a.example/a", "filename": "a.ogg"}, "<audio controls"),
        ("file", {"url": "https://a.example/d", "filename": "d.pdf"}, "📎 d.pdf</a>"),
        ("file", {"url": "javascript:alert(1)", "filename": "a"}, "📎 file"),
        ("location", {"lat": 1.5, "lng": 2.5}, "📍 1.5, 2.5"),
    ],
)
def test_media_is_shown(
    person: httpx.Client, number: Number, kind: str, body: dict[str, str], shown: str
) -> None:
    number.ask("POST", f"/api/messages/{kind}", to="79990001122", **body)
    page = person.get(f"/phone/{number.session}?peer=79990001122").text
    assert shown in page
    assert "javascript:" not in page


def test_logged_out_the_page_says_so(person: httpx.Client, number: Number) -> None:
    page = person.post(f"/phone/{number.session}/unlink", data={"x": "y"})
    assert "not linked" in page.text
    assert number.status() == "offline"


def test_accounts_are_listed_as_json_without_their_keys(platform: Platform, number: Number) -> None:
    answer = platform.http.get("/phone", headers={"Accept": "application/json"})
    (account,) = answer.json()["accounts"]
    assert (account["session"], account["organization_id"]) == (number.session, "org-1")
    assert number.api_key not in answer.text


def test_an_unknown_phone_is_not_found(platform: Platform) -> None:
    assert platform.http.get("/phone/1").status_code == 404

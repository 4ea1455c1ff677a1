"""GET /v1/conversations: one for each phone, with its contact and its last message."""

from typing import Any

import pytest

from tests.workers.ingress.messages.test_reading import (
    ACCOUNT,
    OTHER_PHONE,
    PHONE,
    arrived,
    get,
    record,
    texts,
)
from tests.workers.ingress.tenants import Tenant

PATH = "/v1/conversations"
LID = "123456789012345@lid"


@pytest.fixture
def school(tenant: Tenant) -> Tenant:
    """Return an organization with a connected number."""
    tenant.add_integration(ACCOUNT)
    return tenant


def test_a_conversation_has_contact_last_message_and_unread(school: Tenant) -> None:
    record(
        school,
        arrived(0, text="one", peer_name="Anna"),
        arrived(1, text="two"),
        arrived(2, text="three", phone=OTHER_PHONE),
    )
    other, anna = get(school, PATH)["items"]
    assert (other["phone"], other["unread"]) == (OTHER_PHONE, 1)
    assert (anna["phone"], anna["unread"]) == (PHONE, 2)
    assert anna["contact"]["name"] == "Anna"
    assert anna["contact"]["client_id"] == anna["last_message"]["client_id"]
    assert anna["integration_id"] == anna["last_message"]["integration_id"]
    assert anna["last_message"]["text"] == "two"


def test_pages_follow_their_cursor(school: Tenant) -> None:
    record(school, *(arrived(n, phone=f"7999000000{n}") for n in range(5)))
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = get(school, PATH, **query)
        seen += [each["phone"] for each in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == [f"7999000000{n}" for n in (4, 3, 2, 1, 0)]


def test_a_person_whose_phone_is_hidden_is_a_conversation(school: Tenant) -> None:
    record(school, arrived(phone="", lid=LID, wa_message_id="W1", text="hidden"))
    (hidden,) = get(school, PATH)["items"]
    assert (hidden["phone"], hidden["hidden_id"], hidden["contact"]) == (None, LID, None)
    assert texts(get(school, f"{PATH}/{LID}/messages")) == ["hidden"]
    record(school, arrived(1, lid=LID, wa_message_id="W2", text="shown"))
    (known,) = get(school, PATH)["items"]
    assert (known["phone"], known["hidden_id"]) == (PHONE, None)
    assert texts(get(school, f"{PATH}/{PHONE}/messages")) == ["shown", "hidden"]


def test_a_path_that_names_no_phone_is_told(school: Tenant) -> None:
    answer = school.http.get(f"{PATH}/nobody/messages")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "phone"

"""Two numbers of one organization that share ids: updates never cross between them."""

from typing import Any
from uuid import uuid4

import pytest

from tests.migrations.conftest import PHONE, Tenant, at

FIRST_PHONE = "79995550001"


@pytest.fixture
def second(tenant: Tenant) -> Tenant:
    """Return the organization's second number."""
    second = Tenant(tenant.db, "0000000000043", id=tenant.id, integration=uuid4())
    tenant.db.execute(
        "select wpp_save_integration(%s, %s, 'Second', %s)",
        (second.integration, second.id, second.account),
    )
    return second


def test_one_number_writes_to_the_other(tenant: Tenant, second: Tenant) -> None:
    """The platform uses the same id at both ends: the sent and the received are two messages."""
    tenant.apply(
        tenant.sent(task_id="T1"), tenant.status("sent", 1, task_id="T1", wa_message_id="3EB0AA11")
    )
    second.apply(second.arrived(2, wa_message_id="3EB0AA11", phone=FIRST_PHONE, text="Hello"))
    sent, arrived = tenant.messages()
    assert (sent["integration_id"], sent["is_outgoing"]) == (tenant.integration, True)
    assert (arrived["integration_id"], arrived["is_outgoing"]) == (second.integration, False)
    assert "conflicts" not in sent["metadata"]


def test_the_same_message_on_both_numbers_is_one_row_each(tenant: Tenant, second: Tenant) -> None:
    for number in (tenant, second):
        number.apply(number.arrived(wa_message_id="3EB0AA11"))
        number.apply(number.arrived(wa_message_id="3EB0AA11"))
    assert [row["integration_id"] for row in tenant.messages()].count(second.integration) == 1
    assert len(tenant.messages()) == 2


def test_a_status_of_one_number_s_task_waits_and_is_not_the_other_s(
    tenant: Tenant, second: Tenant
) -> None:
    """Each number counts its task ids from 1."""
    tenant.apply(tenant.sent(task_id="T1"))
    second.apply(second.status("read", 1, "T1"), second.reaction("👍", 2, "T1"))
    assert (tenant.message()["message_status"], tenant.message()["metadata"].get("reactions")) == (
        "sent",
        None,
    )
    second.apply(second.sent(task_id="T1", second=5))
    first, other = tenant.messages()
    assert (first["message_status"], other["message_status"]) == ("sent", "read")


def test_a_row_of_the_old_system_belongs_to_the_number_that_it_names(
    tenant: Tenant, second: Tenant
) -> None:
    tenant.db.execute(
        "insert into chat_messages (organization_id, message_text, message_type, is_outgoing, "
        "message_status, "
        "external_message_id, metadata, created_at) values (%s, 'old', 'manager', true, 'sent', "
        "'T0', "
        "jsonb_build_object('integration_id', %s::text), %s)",
        (tenant.id, tenant.integration, at(-60)),
    )
    second.apply(second.status("read", 1, "T0"))
    assert tenant.message()["message_status"] == "sent"
    tenant.apply(tenant.status("delivered", 1, "T0"))
    assert tenant.message()["message_status"] == "delivered"


def test_an_echo_that_was_reacted_to_becomes_part_of_ours_with_its_reaction(tenant: Tenant) -> None:
    """The platform reported the reaction for both rows; one reaction is left."""
    tenant.apply(tenant.sent(task_id="T1"), tenant.reaction("🔥", 1, "T1"))
    tenant.apply(
        tenant.arrived(1, wa_message_id="W1", outgoing=True, text="Hello"),
        tenant.reaction("👍", 2, "W1"),
    )
    tenant.apply(tenant.reaction("😂", 3, "W1", outgoing=True))
    tenant.apply(tenant.status("delivered", 4, task_id="T1", wa_message_id="W1"))
    row = tenant.message()
    assert row["message_status"] == "delivered"
    assert {who: each["emoji"] for who, each in row["metadata"]["reactions"].items()} == {
        PHONE: "🔥",
        "self": "😂",
    }
    assert [row["emoji"] for row in tenant.rows("select emoji from message_reactions")] == ["🔥"]


def test_another_file_under_one_id_is_kept_beside_the_first(tenant: Tenant) -> None:
    """The message shows that there was a second file, and where it is."""
    photo: dict[str, Any] = {"wa_message_id": "W1", "content": "image", "text": ""}
    for place in ("a.jpg", "b.jpg", "b.jpg", "a.jpg"):
        stored = tenant.arrived(
            **photo, media_state="stored", file_url=place, metadata={"media_path": place}
        )
        tenant.apply(stored)
    row = tenant.message()
    assert (row["file_url"], row["metadata"]["media_path"], row["metadata"]["other_files"]) == (
        "a.jpg",
        "a.jpg",
        ["b.jpg"],
    )

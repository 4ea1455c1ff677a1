"""Messages in `wpp_apply`: one row each, completed by later outcomes in any order."""

from datetime import datetime
from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.migrations.conftest import PHONE, Tenant, at


def test_a_sent_message_is_one_row_with_its_task_id(tenant: Tenant) -> None:
    sent = tenant.sent(task_id="task_77", sender_name="Olga")
    answer = tenant.apply(sent)
    row = tenant.message()
    assert row["id"] == sent.id
    assert (row["message_status"], row["external_message_id"], row["message_text"]) == (
        "sent",
        "task_77",
        "Hello",
    )
    assert (row["message_type"], row["messenger_type"], row["is_outgoing"]) == (
        "manager",
        "whatsapp",
        True,
    )
    assert (row["integration_id"], row["sender_name"], row["created_at"]) == (
        tenant.integration,
        "Olga",
        at(0),
    )
    assert row["metadata"]["integration_id"] == str(tenant.integration)
    assert answer == {
        "changed": [
            {
                "organization_id": str(tenant.id),
                "integration_id": str(tenant.integration),
                "what": "message",
            },
        ],
        "refused": [],
        "set_aside": [],
        "waiting": 0,
    }


def test_a_received_message_has_its_sender_and_the_platform_s_time(
    tenant: Tenant,
) -> None:
    tenant.apply(tenant.arrived(30, wa_message_id="false_1", peer_name="Ivan", text="Hi"))
    row, (client,) = tenant.message(), tenant.clients()
    assert (row["client_id"], client["name"], client["phone"]) == (client["id"], "Ivan", PHONE)
    assert (row["message_type"], row["is_outgoing"], row["is_read"]) == ("client", False, False)
    assert (row["external_message_id"], row["created_at"], client["last_message_at"]) == (
        "false_1",
        at(30),
        at(30),
    )


def test_the_same_outcome_twice_changes_nothing(tenant: Tenant) -> None:
    outcomes = [tenant.arrived(wa_message_id="W1"), tenant.sent(task_id="T1", second=1)]
    tenant.apply(*outcomes, *outcomes)
    before = tenant.messages()
    tenant.apply(*outcomes)
    assert tenant.messages() == before
    assert len(before) == 2


def test_two_arrivals_of_one_external_id_are_one_row(tenant: Tenant) -> None:
    first, second, third = (tenant.arrived(wa_message_id="W1") for _ in range(3))
    tenant.apply(first, second)
    tenant.apply(third)
    row = tenant.message()
    assert row["id"] == first.id
    assert "conflicts" not in row["metadata"]


def test_a_duplicate_with_another_text_is_kept_beside_the_first(tenant: Tenant) -> None:
    tenant.apply(tenant.arrived(wa_message_id="W1", text="one"))
    for _ in range(2):
        tenant.apply(tenant.arrived(wa_message_id="W1", text="two"))
    row = tenant.message()
    assert (row["message_text"], row["metadata"]["conflicts"]) == ("one", ["two"])


def test_messages_without_an_external_id_are_distinguished_by_their_own_id(tenant: Tenant) -> None:
    tenant.apply(tenant.arrived(), tenant.arrived())
    assert len(tenant.messages()) == 2


def test_the_same_external_id_on_two_numbers_is_two_messages(tenant: Tenant, other: Tenant) -> None:
    tenant.apply(
        tenant.arrived(wa_message_id="W1"), other.arrived(wa_message_id="W1", phone="79990003344")
    )
    assert len(tenant.messages()) == len(other.messages()) == 1


def test_a_file_follows_its_message(tenant: Tenant) -> None:
    message = tenant.arrived(
        wa_message_id="W1", content="image", media_state="pending", file_type="image/jpeg"
    )
    stored = message.model_copy(
        update={"media_state": "stored", "file_url": "https://x/1.jpg", "file_name": "1.jpg"}
    )
    for order in permutations([message, stored, message]):
        tenant.db.execute("truncate chat_messages cascade")
        for each in order:
            tenant.apply(each)
        row = tenant.message()
        assert (row["file_url"], row["file_name"], row["file_type"]) == (
            "https://x/1.jpg",
            "1.jpg",
            "image/jpeg",
        )
        assert row["metadata"]["media_state"] == "stored"
        assert row["metadata"]["content"] == "image"


def test_an_answer_from_the_phone_marks_what_came_before_as_read(tenant: Tenant) -> None:
    before, after = tenant.arrived(1, wa_message_id="W1"), tenant.arrived(9, wa_message_id="W3")
    echo = tenant.arrived(5, wa_message_id="W2", outgoing=True, text="Answered from the phone")
    for order in permutations([before, echo, after]):
        tenant.db.execute("truncate chat_messages cascade")
        for each in order:
            tenant.apply(each)
        read = {row["external_message_id"]: row["is_read"] for row in tenant.messages()}
        assert read == {"W1": True, "W2": True, "W3": False}


def test_an_echo_of_our_own_message_becomes_part_of_it(tenant: Tenant) -> None:
    """The echo names a waMessageId; a later outcome shows that it is our task."""
    sent = tenant.sent(task_id="T1")
    echo = tenant.arrived(1, wa_message_id="W1", outgoing=True, text="Hello")
    bind = tenant.status("delivered", 2, task_id="T1", wa_message_id="W1")
    for order in permutations([sent, echo, bind]):
        tenant.db.execute("truncate chat_messages, wpp.parked_outcomes cascade")
        for each in order:
            tenant.apply(each)
        row = tenant.message()
        assert (row["id"], row["message_status"], row["external_message_id"]) == (
            sent.id,
            "delivered",
            "T1",
        )
        assert row["metadata"]["waMessageId"] == "W1"


def test_outcomes_of_an_unknown_account_wait_until_it_is_connected(tenant: Tenant) -> None:
    late = Tenant(tenant.db, "0000000000099")
    answer = tenant.apply(
        late.arrived(wa_message_id="W1"),
        late.status("read", 2, "W1"),
        late.session("connected", 1),
        tenant.arrived(),
    )
    assert [change["organization_id"] for change in answer["changed"]] == [str(tenant.id)]
    late.connect()
    assert late.message()["message_status"] == "read"
    assert late.rows(
        "select status from whatsapp_sessions where organization_id = %s", late.id
    ) == [{"status": "connected"}]
    assert late.rows("select * from wpp.parked_outcomes") == []


def test_an_account_that_was_removed_still_receives(tenant: Tenant) -> None:
    """Reports arrive after a number was removed, and after it was connected again."""
    sent = tenant.sent(task_id="T1")
    tenant.apply(sent)
    tenant.db.execute("select wpp_remove_integration(%s, %s)", (tenant.integration, tenant.id))
    tenant.apply(tenant.status("delivered", 1, "T1"))
    assert tenant.message()["message_status"] == "delivered"
    tenant.db.execute(
        "select wpp_save_integration(%s, %s, 'Again', %s)", (uuid4(), tenant.id, tenant.account)
    )
    tenant.apply(tenant.status("read", 2, "T1"))
    assert tenant.message()["message_status"] == "read"


def test_a_row_of_the_old_system_is_found_by_its_external_id(tenant: Tenant) -> None:
    tenant.db.execute(
        "insert into chat_messages (organization_id, message_text, message_type, is_outgoing, "
        "message_status, "
        "external_message_id, created_at) values (%s, 'old', 'manager', true, 'read', 'T0', %s)",
        (tenant.id, at(-60)),
    )
    tenant.apply(
        tenant.status("delivered", 0, "T0"), tenant.arrived(1, wa_message_id="T0", text="old")
    )
    row = tenant.message()
    assert (row["message_text"], row["message_status"]) == ("old", "read")


def test_an_empty_batch_changes_nothing(tenant: Tenant) -> None:
    assert tenant.apply() == {"changed": [], "refused": [], "set_aside": [], "waiting": 0}


LIFE = (
    "queued",
    "sent",
    "bind",
    "delivered",
    "read",
    "edit",
    "reaction",
    "incoming",
    "file",
    "echo",
    "dead",
    "revoke",
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    order=st.permutations(LIFE),
    again=st.lists(st.sampled_from(LIFE), max_size=6),
    cut=st.integers(1, 17),
)
def test_every_order_of_a_life_ends_in_the_same_rows(
    tenant: Tenant, order: list[str], again: list[str], cut: int
) -> None:
    """Any order, repetition and division into batches gives the same rows and parks none."""
    tenant.db.execute("truncate chat_messages, clients, wpp.parked_outcomes cascade")
    told = [*order, *again]
    for start in range(0, len(told), cut):
        tenant.apply(*(life(tenant)[name] for name in told[start : start + cut]))
    assert tenant.rows("select * from wpp.parked_outcomes") == []
    incoming, sent = tenant.messages()
    assert (incoming["message_text"], incoming["file_url"]) == ("Photo", "https://x/1.jpg")
    reactions = sent["metadata"].pop("reactions")
    assert reactions[PHONE]["emoji"] == "👍"
    edited_at = sent["metadata"].pop("edited_at")
    assert edited_at.startswith("2026-11-21T12:00:07")
    assert datetime.fromisoformat(sent["metadata"].pop("echoed")) == at(2.5)
    assert incoming["is_read"], "somebody has answered it since"
    assert sent["metadata"] == {
        "integration_id": str(tenant.integration),
        "phone": PHONE,
        "taskId": "T1",
        "waMessageId": "W1",
        "original_text": "Hello",
        "is_edited": True,
    }
    assert (sent["message_text"], sent["message_status"], sent["external_message_id"]) == (
        "Hello!",
        "deleted",
        "T1",
    )
    assert (sent["id"], sent["is_outgoing"], sent["is_read"]) == (tenant.integration, True, True)
    assert sent["created_at"] == at(1)
    (client,) = tenant.clients()
    assert (client["name"], client["last_message_at"]) == ("Ivan", at(2.5))
    assert tenant.rows(
        "select emoji from message_reactions where client_id = %s", client["id"]
    ) == [{"emoji": "👍"}]
    history = tenant.rows(
        "select event from wpp_message_history where message_id = %s order by at", sent["id"]
    )
    told = ["queued", "sent", "sent", "sent", "delivered", "read", "edited", "reaction", "failed"]
    assert [row["event"] for row in history] == [*told, "deleted"]


def life(tenant: Tenant) -> dict[str, Any]:
    """Return the outcomes of a sent and of a received message, with fixed ids."""
    own = {"id": tenant.integration, "text": "Hello"}
    photo = {
        "id": tenant.id,
        "wa_message_id": "W9",
        "text": "Photo",
        "content": "image",
        "peer_name": "Ivan",
    }
    return {
        "queued": tenant.sent("queued", 1, **own),
        "sent": tenant.sent("sent", 2, task_id="T1", **own),
        "echo": tenant.arrived(
            2.5, id=UUID(int=5), outgoing=True, wa_message_id="W1", text="Hello", status="sent"
        ),
        "bind": tenant.status("sent", 3, task_id="T1", wa_message_id="W1"),
        "delivered": tenant.status("delivered", 4, "T1"),
        "read": tenant.status("read", 5, "W1"),
        "edit": tenant.edit("Hello!", 7, "W1"),
        "reaction": tenant.reaction("👍", 8, "W1"),
        "dead": tenant.status("failed", 9, "T1", error="the platform gave it up"),
        "revoke": tenant.status("deleted", 10, "W1"),
        "incoming": tenant.arrived(0, media_state="pending", **photo),
        "file": tenant.arrived(0, media_state="stored", file_url="https://x/1.jpg", **photo),
    }

"""A message has one row, whatever the spelling of its id; an id names a message of one chat."""

from itertools import permutations
from typing import Any

import pytest

from shared.webhooks.message_ids import parse_key
from tests.migrations.conftest import PHONE, Tenant

LID = "160958000000777@lid"
SPELLINGS = [
    "3EB0AA11",
    f"false_{PHONE}@c.us_3EB0AA11",
    f"false_{PHONE}@s.whatsapp.net_3EB0AA11",
    f"false_{LID}_3EB0AA11",
    f"{PHONE}@c.us_3EB0AA11",
    f"false_{PHONE}@c.us_3EB0AA11_{PHONE}@c.us",
    f"false_{PHONE}@c.us_3EB0AA11_in",
]


FOREIGN = [
    f"false_{PHONE}@c.us_order 7 of 12",
    f"false_{PHONE}@c.us_3EB0AA11 copy",
    f"false_{PHONE}@c.us_batch_1",
    f"false_{PHONE}@c.us_3EB0AA11_in_2",
    f"false_{PHONE}@c.us_",
    f"false_{PHONE}@c.us",
    "order 7_12@shop_1 2",
    "wamid.HBgL_1@2",
    "",
]
"""Ids of other systems that begin or look like WhatsApp's."""


@pytest.mark.parametrize("spelling", [*SPELLINGS, *FOREIGN])
def test_python_and_sql_read_the_same_key(tenant: Tenant, spelling: str) -> None:
    (row,) = tenant.rows("select wpp.message_key(%s) as key", spelling)
    assert (
        row["key"] == parse_key(spelling).key == ("3EB0AA11" if spelling in SPELLINGS else spelling)
    )


def test_messages_whose_ids_share_a_beginning_have_a_row_each(tenant: Tenant) -> None:
    """In one batch and in two: an id that is not entirely WhatsApp's spelling counts as a whole."""
    ids = [f"false_{PHONE}@c.us_order 7 in {n}" for n in range(6)]
    ids += [f"false_{PHONE}@c.us_batch_{n}" for n in range(6)]
    messages = [tenant.arrived(wa_message_id=each, text=each) for each in ids]
    tenant.apply(*messages[::2])
    tenant.apply(*messages)
    assert sorted(row["message_text"] for row in tenant.messages()) == sorted(ids)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("first", SPELLINGS)
def test_a_message_and_its_updates_meet_in_any_spelling(
    tenant: Tenant, first: str, spelling: str
) -> None:
    tenant.apply(tenant.edit("edited", 5, spelling))
    tenant.apply(tenant.arrived(wa_message_id=first))
    tenant.apply(tenant.arrived(1, wa_message_id=spelling), tenant.reaction("+", 2, spelling))
    row = tenant.message()
    assert row["message_text"] == "edited"
    assert row["metadata"]["reactions"][PHONE]["emoji"] == "+"


def test_two_spellings_in_a_batch_are_one_row(tenant: Tenant) -> None:
    tenant.apply(
        tenant.arrived(wa_message_id=SPELLINGS[3], phone="", lid=LID),
        tenant.arrived(wa_message_id=SPELLINGS[1]),
    )
    assert tenant.message()["client_id"] is not None


@pytest.mark.parametrize("batched", [True, False])
def test_an_id_in_another_chat_or_direction_is_another_message(
    tenant: Tenant, *, batched: bool
) -> None:
    messages = [
        tenant.arrived(wa_message_id="3EB0AA11"),
        tenant.arrived(wa_message_id="3EB0AA11", outgoing=True, status="sent"),
        tenant.arrived(wa_message_id="3EB0AA11", phone="79990003344"),
    ]
    for batch in [messages] if batched else [[message] for message in messages]:
        tenant.apply(*batch)
    assert len(tenant.messages()) == 3
    tenant.apply(tenant.status("read", 5, f"true_{PHONE}@c.us_3EB0AA11"))
    tenant.apply(tenant.status("deleted", 5, "false_79990003344@c.us_3EB0AA11"))
    shown = {
        (row["is_outgoing"], row["metadata"]["phone"]): row["message_status"]
        for row in tenant.messages()
    }
    assert shown == {
        (False, PHONE): "delivered",
        (True, PHONE): "read",
        (False, "79990003344"): "deleted",
    }


def test_national_twins_of_a_phone_are_one_chat(tenant: Tenant) -> None:
    tenant.apply(tenant.sent(phone="525512345601", task_id="T1", wa_message_id="3EB0"))
    tenant.apply(tenant.status("read", 5, "true_5215512345601@c.us_3EB0"))
    assert tenant.message()["message_status"] == "read"


def stand_in(tenant: Tenant, text: str, **given: Any) -> Any:
    return tenant.arrived(wa_message_id="W1", text=text, metadata={"stand_in": True}, **given)


def test_a_stand_in_yields_to_words_and_a_file_in_any_order(tenant: Tenant) -> None:
    """The words, the file and the edit of a message end in the same row."""
    outcomes = [
        stand_in(tenant, "[Waiting for this message]", content="other"),
        stand_in(tenant, "[Image]", content="image"),
        tenant.arrived(wa_message_id="W1", text="my homework"),
        tenant.arrived(
            wa_message_id="W1",
            text="",
            content="image",
            file_name="a.png",
            file_type="image/png",
            media_state="pending",
        ),
        tenant.edit("edited", 9, "W1"),
        tenant.status("deleted", 9, "W1"),
    ]
    seen = set()
    for order in permutations(outcomes):
        for outcome in order:
            tenant.apply(outcome)
        row = tenant.message()
        metadata = row["metadata"]
        seen.add(
            (
                row["message_text"],
                row["file_name"],
                row["message_status"],
                metadata.get("original_text"),
                metadata.get("content"),
                metadata.get("media_state"),
                "stand_in" in metadata,
                "conflicts" in metadata,
            )
        )
        tenant.db.execute("delete from chat_messages")
        tenant.db.execute("delete from wpp.parked_outcomes")
    expected = ("edited", "a.png", "deleted", "my homework", "image", "pending", False, False)
    assert seen == {expected}


def test_a_stand_in_never_replaces_words(tenant: Tenant) -> None:
    tenant.apply(tenant.arrived(wa_message_id="W1", text="Here"), stand_in(tenant, "[Empty]"))
    row = tenant.message()
    assert (row["message_text"], row["metadata"].get("conflicts")) == ("Here", None)

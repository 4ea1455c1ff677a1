"""A message has one row, whatever the spelling of its id; an id names a message of one chat."""

from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

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


KEY, CHAT = "3EB0A1", "79990001122@c.us"
NAMES: list[dict[str, Any]] = [
    {"wa_message_id": f"true_{CHAT}_{KEY}"},
    {"wa_message_id": f"false_{CHAT}_{KEY}", "task_id": "T1", "phone": "79990003344"},
    {"wa_message_id": f"true_{CHAT}_{KEY}", "external_ids": [KEY, f"true_{CHAT}_{KEY}"]},
    {"wa_message_id": f"true_{CHAT}_{KEY}", "external_ids": ["another"], "phone": ""},
    {"wa_message_id": f"true_{CHAT}_{KEY}", "target_outgoing": False, "lid": "12@lid"},
    {"wa_message_id": f"true_123456@c.us_{KEY}"},
    {"wa_message_id": f"true_{'1' * 16}@c.us_{KEY}"},
    {"wa_message_id": f"true_79990001122:5@c.us_{KEY}"},
    {"wa_message_id": f"true_{CHAT.upper()}_{KEY}"},
    {"wa_message_id": f"TRUE_{CHAT}_{KEY}"},
    {"wa_message_id": f"true_{CHAT}_"},
    {"wa_message_id": f"true_{CHAT}_{KEY}@c.us"},
    {"wa_message_id": f"true_{CHAT}_{KEY}_{CHAT}"},
    {"wa_message_id": f"true_{CHAT}_{KEY} x"},
    {"wa_message_id": f"true_{CHAT}_{KEY}\u2003"},
    {"wa_message_id": f"true_٧٩٩٩٠٠٠١١٢٢@c.us_{KEY}"},
    {"wa_message_id": f"true_12345678@lid_{KEY}"},
    {"wa_message_id": f"true_1234-5678@g.us_{KEY}"},
    {"wa_message_id": f"{CHAT}_{KEY}"},
    {"wa_message_id": KEY, "task_id": "T1"},
    {"external_ids": [f"true_{CHAT}_{KEY}"]},
]


@pytest.mark.parametrize("given", NAMES, ids=str)
def test_a_batch_names_messages_as_the_function_for_names_does(
    tenant: Tenant, given: dict[str, Any]
) -> None:
    """The usual spelling is taken apart where the batch is read."""
    reaction = {
        "type": "reaction",
        "at": "2026-11-21T12:00:00Z",
        "account": tenant.account,
        "outgoing": False,
        "emoji": "👍",
        **given,
    }
    (read,) = tenant.rows(
        "select u.ids, u.target_outgoing, u.peer_phone, u.lid"
        " from wpp.read_batch(%s) as b, unnest(b.updates) as u",
        Jsonb([reaction]),
    )
    (named,) = tenant.rows(
        "select ids, target_outgoing, peer_phone, lid"
        " from wpp.name_message(%s, %s, %s, %s, %s, %s)",
        *(
            given.get(name)
            for name in (
                "task_id",
                "wa_message_id",
                "external_ids",
                "target_outgoing",
                "phone",
                "lid",
            )
        ),
    )
    assert read == named
    message = {**reaction, "type": "message", "id": str(uuid4()), "text": "Hi"}
    (key,) = tenant.rows(
        "select m.key is not distinct from n.key as same, m.message_id = m.id as is_own"
        " from wpp.read_batch(%s) as b, unnest(b.messages) as m,"
        " wpp.name_message(%s, %s, %s, null, null, null) as n",
        Jsonb([message]),
        *(given.get(name) for name in ("task_id", "wa_message_id", "external_ids")),
    )
    assert key == {"same": True, "is_own": True}

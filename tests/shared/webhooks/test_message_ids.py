"""The message that an event is about is found by any field that names it."""

from typing import Any

import pytest

from shared.webhooks.message_ids import (
    MessageKey,
    describe_target,
    parse_key,
    read_quoted_id,
    read_target,
)
from shared.webhooks.payload import parse_payload

PHONE, LID = "79990001122", "160958000000777@lid"
NAMED = f"true_{PHONE}@c.us_3EB0BB22"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("3EB0BB22", MessageKey("3EB0BB22")),
        ("task_77", MessageKey("task_77")),
        ("wamid.HBgL", MessageKey("wamid.HBgL")),
        (NAMED, MessageKey("3EB0BB22", outgoing=True, chat=f"{PHONE}@c.us")),
        (f"false_{LID}_3EB0", MessageKey("3EB0", outgoing=False, chat=LID)),
        (f"{PHONE}@C.US_3EB0", MessageKey("3EB0", chat=f"{PHONE}@c.us")),
        (f"{NAMED}_out", MessageKey("3EB0BB22", outgoing=True, chat=f"{PHONE}@c.us")),
        (
            "false_1@broadcast_3EB0_79@c.us",
            MessageKey("3EB0", outgoing=False, chat="1@broadcast", participant="79@c.us"),
        ),
    ],
)
def test_an_id_says_its_key_its_direction_and_its_chat(name: str, key: MessageKey) -> None:
    assert parse_key(name) == key


def test_a_target_has_the_chat_of_its_id() -> None:
    target = describe_target((NAMED,))
    assert (target.outgoing, target.phone, target.lid) == (True, PHONE, None)
    target = describe_target((f"false_{LID}_3EB0",))
    assert (target.outgoing, target.phone, target.lid) == (False, None, LID)
    assert describe_target(("3EB0",)).outgoing is None


@pytest.mark.parametrize(
    "fields",
    [
        {"messageId": NAMED},
        {"id": {"_serialized": NAMED}},
        {"msgId": {"_serialized": NAMED, "id": "3EB0BB22"}},
        {"reaction": {"text": "+", "messageId": NAMED}},
        {"reaction": {"emoji": "+", "message_id": NAMED}},
        {"reaction": {"text": "+", "key": {"id": NAMED}}},
        {"editedMessageId": NAMED},
        {"edited_message_id": NAMED},
        {"protocolMessageKey": {"_serialized": NAMED}},
        {"protocolMessage": {"key": {"id": NAMED}}},
        {"revokedMessageId": NAMED},
        {"revoked_message_id": NAMED},
        {"original_message_id": NAMED},
        {"revoke": {"original_message_id": NAMED}},
        {"edit": {"original_message_id": NAMED}},
        {"before": {"id": NAMED}, "after": {"id": "3EB0AFTER"}},
        {"before": {"id": {"_serialized": NAMED}}},
        {"_data": {"protocolMessageKey": {"_serialized": NAMED}}},
        {"parentMsgKey": {"_serialized": NAMED}},
        {"refId": {"_serialized": NAMED}},
    ],
    ids=str,
)
def test_the_target_of_an_event_is_found_in_every_field(fields: dict[str, Any]) -> None:
    """Beside the id of the event, and beside the id of the message that tells it."""
    beside = {} if "messageId" in fields or "id" in fields else {"id": "3EB0OWN0000000001"}
    target = read_target(parse_payload({"type": "message.edited", **beside, **fields}))
    assert target
    assert target.ids == (NAMED,)


@pytest.mark.parametrize(
    "fields",
    [
        {"quotedMsgId": NAMED},
        {"quotedMsgId": {"_serialized": NAMED}},
        {"quotedStanzaID": NAMED},
        {"quotedMsgObj": {"id": NAMED}},
        {"quotedMsg": {"id": {"_serialized": NAMED}}},
        {"quoted": {"key": {"id": NAMED}}},
        {"replyTo": {"id": NAMED, "body": "x"}},
        {"context": {"id": NAMED}},
        {"contextInfo": {"stanzaId": NAMED}},
        {"_data": {"quotedStanzaID": NAMED}},
    ],
    ids=str,
)
def test_the_quoted_message_is_found_in_every_field(fields: dict[str, Any]) -> None:
    assert read_quoted_id(fields) == NAMED

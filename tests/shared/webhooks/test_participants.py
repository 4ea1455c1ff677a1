"""The chat of an event is found wherever its fields name it."""

from typing import Any

import pytest

from shared.outcomes import MessageOutcome
from shared.webhooks.participants import Chat, find_chat
from tests.shared.webhooks.webhook_events import interpret

PHONE, OTHER, LID = "79990001122", "79995550000", "160958000000777@lid"
PERSON = Chat("person", phone=PHONE)
BOTH = Chat("person", phone=PHONE, lid=LID)


@pytest.mark.parametrize(
    ("fields", "chat"),
    [
        ({"from": f"{PHONE}@c.us", "to": f"{OTHER}@c.us"}, PERSON),
        ({"from": {"_serialized": f"{PHONE}@c.us"}}, PERSON),
        ({"sender": {"id": {"user": PHONE, "server": "c.us"}}}, PERSON),
        ({"remoteJid": f"{PHONE}@s.whatsapp.net"}, PERSON),
        ({"peerJid": f"{PHONE}@c.us"}, PERSON),
        ({"chat": {"id": f"{PHONE}@c.us"}}, PERSON),
        ({"messageId": f"false_{PHONE}@c.us_3EB0"}, PERSON),
        ({"from": "120363012345678901@g.us", "author": f"{PHONE}@c.us"}, Chat("group")),
        ({"from": "status@broadcast", "author": f"{PHONE}@c.us"}, Chat("group")),
        ({"from": f"{PHONE}@c.us", "isGroupMsg": True}, Chat("group")),
        ({"from": f"{PHONE}@c.us", "chatId": "1658883349@broadcast"}, PERSON),
        ({"from": "1658883349@broadcast", "author": f"{PHONE}@c.us"}, PERSON),
        ({"messageId": f"false_1658883349@broadcast_3EB0_{PHONE}@c.us"}, PERSON),
        ({"from": "%"}, Chat("unreadable", address="%")),
        ({"from": "0@c.us"}, Chat("service")),
        ({}, Chat("none")),
    ],
)
def test_the_chat_of_an_incoming_message(fields: dict[str, Any], chat: Chat) -> None:
    assert find_chat(fields, own=False) == chat


@pytest.mark.parametrize(
    "beside",
    [
        {"senderPn": f"{PHONE}@s.whatsapp.net"},
        {"remoteJidAlt": f"{PHONE}@s.whatsapp.net"},
        {"sender_pn": f"{PHONE}@s.whatsapp.net"},
        {"key": {"remoteJid": LID, "senderPn": f"{PHONE}@s.whatsapp.net"}},
        {"_data": {"key": {"remoteJidAlt": f"{PHONE}@s.whatsapp.net"}}},
        {"_data": {"Info": {"SenderAlt": f"{PHONE}@s.whatsapp.net"}}},
        {"sender": {"id": LID, "phoneNumber": {"_serialized": f"{PHONE}@c.us"}}},
        {"chat": {"id": LID, "contact": {"pn": PHONE}}},
        {"rawFrom": f"{PHONE}@c.us"},
    ],
)
def test_the_phone_beside_a_hidden_id_is_found(beside: dict[str, Any]) -> None:
    own_number = {"to": f"{OTHER}@c.us", "me": {"id": f"{OTHER}@c.us"}, "recipientAlt": OTHER}
    assert find_chat({"from": LID, **own_number, **beside}, own=False) == BOTH


@pytest.mark.parametrize(
    "beside", [{"senderLid": LID}, {"sender": {"lid": LID}}, {"key": {"remoteJidAlt": LID}}]
)
def test_the_hidden_id_beside_a_phone_is_found(beside: dict[str, Any]) -> None:
    assert find_chat({"from": f"{PHONE}@c.us", **beside}, own=False) == BOTH


@pytest.mark.parametrize(
    "fields",
    [
        {"to": LID, "from": f"{OTHER}@c.us", "recipientAlt": f"{PHONE}@s.whatsapp.net"},
        {"to": LID, "sender": {"id": f"{OTHER}@c.us", "pn": OTHER}, "remoteJidAlt": PHONE},
    ],
)
def test_an_own_message_to_a_hidden_id_is_not_filed_under_the_own_number(
    fields: dict[str, Any],
) -> None:
    assert find_chat(fields, own=True) == BOTH


def test_the_phone_in_a_shared_contact_or_a_quote_is_not_the_senders() -> None:
    fields = {
        "from": LID,
        "contacts": [{"phones": [{"phone": f"+{OTHER}", "wa_id": OTHER}]}],
        "quotedMsg": {"senderPn": OTHER},
        "contextInfo": {"participantPn": OTHER},
    }
    assert find_chat(fields, own=False) == Chat("lid", lid=LID)


PEER, OWN = PHONE, OTHER
OURS = f"true_{PEER}@c.us_3EB0EE01"

ENDS: list[tuple[dict[str, Any], str, str | None]] = [
    ({"from": f"{PEER}@c.us", "to": f"{OWN}@c.us"}, PEER, OWN),
    ({"from": f"+{PEER}"}, PEER, None),
    ({"from": f"{OWN}@c.us", "to": f"{PEER}@c.us", "fromMe": True}, PEER, OWN),
    (
        {"from": f"{PEER}@c.us", "to": f"{OWN}@c.us", "fromMe": True, "messageId": OURS},
        PEER,
        OWN,
    ),
    ({"from": f"+{PEER}", "fromMe": True}, PEER, None),
    ({"from": f"{OWN}@c.us", "to": f"{OWN}@c.us", "fromMe": True}, OWN, OWN),
    ({"from": f"{PEER}@c.us", "to": f"{PEER}@c.us"}, PEER, None),
    ({"from": f"{PEER}@c.us", "to": "123456789012345@lid"}, PEER, None),
    ({"from": "123456789012345@lid", "to": f"{OWN}@c.us"}, "", None),
]


@pytest.mark.parametrize(
    ("fields", "peer", "own"), ENDS, ids=[str(number) for number in range(len(ENDS))]
)
def test_our_own_number_is_the_end_that_is_not_the_peer(
    fields: dict[str, Any], peer: str, own: str | None
) -> None:
    """Both ends have to be named: a guess would keep a person out of the clients."""
    _, outcomes = interpret({"type": "chat", "text": "Hello", **fields})
    message = outcomes[0]
    assert isinstance(message, MessageOutcome)
    assert (message.phone, message.own_phone) == (peer, own)

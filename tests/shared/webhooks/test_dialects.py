"""Events of WAHA, Baileys and Meta's Cloud API become what those of WPPConnect become."""

from typing import Any

import pytest

from shared.outcomes import EditOutcome, MessageOutcome, ReactionOutcome, StatusOutcome
from tests.shared.webhooks.webhook_events import ACCOUNT, interpret

PHONE = "79990001122"
JID = f"{PHONE}@s.whatsapp.net"
ROW, OPTION = {"selectedRowId": "r"}, {"optionName": "Mon"}
KEY = {"remoteJid": JID, "fromMe": False, "id": "3EB0AA11"}


def baileys(message: dict[str, Any], **beside: Any) -> dict[str, Any]:
    return {"type": "messages.upsert", "data": {"key": KEY, "message": message, **beside}}


def waha(**payload: Any) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "event": "message",
        "session": "default",
        "me": {"id": "79995550000@c.us"},
        "payload": {
            "id": f"false_{PHONE}@c.us_3EB0AA11",
            "from": f"{PHONE}@c.us",
            "fromMe": False,
            "body": "",
            **payload,
        },
    }


def meta(**message: Any) -> dict[str, Any]:
    return {"type": "message.incoming", "data": {"from": PHONE, "id": "wamid.1", **message}}


def made(payload: dict[str, Any]) -> Any:
    outcomes = interpret({"account": ACCOUNT, **payload})[1]
    assert len(outcomes) == 2, outcomes
    return outcomes[0]


@pytest.mark.parametrize(
    ("payload", "content", "text"),
    [
        (baileys({"conversation": "hi"}), "text", "hi"),
        (baileys({"extendedTextMessage": {"text": "hi", "contextInfo": {}}}), "text", "hi"),
        (baileys({"ephemeralMessage": {"message": {"conversation": "hi"}}}), "text", "hi"),
        (baileys({"messageContextInfo": {}, "conversation": "hi"}), "text", "hi"),
        (baileys({"imageMessage": {"caption": "hi", "mimetype": "image/jpeg"}}), "image", "hi"),
        (
            baileys({"viewOnceMessageV2": {"message": {"imageMessage": {"caption": "hi"}}}}),
            "image",
            "hi",
        ),
        (
            baileys(
                {
                    "documentWithCaptionMessage": {
                        "message": {
                            "documentMessage": {
                                "caption": "hi",
                                "fileName": "a.pdf",
                                "mimetype": "application/pdf",
                            }
                        }
                    }
                }
            ),
            "document",
            "hi",
        ),
        (baileys({"audioMessage": {"ptt": True, "mimetype": "audio/ogg"}}), "voice", ""),
        (baileys({"stickerMessage": {"mimetype": "image/webp"}}), "sticker", ""),
        (
            baileys({"lottieStickerMessage": {"message": {"stickerMessage": {"mimetype": "x/y"}}}}),
            "sticker",
            "",
        ),
        (
            baileys({"locationMessage": {"degreesLatitude": 1.5, "degreesLongitude": 2.5}}),
            "location",
            "1.5, 2.5",
        ),
        (
            baileys({"contactMessage": {"vcard": "BEGIN:VCARD\nFN:A\nTEL:1\nEND:VCARD"}}),
            "contact",
            "A, 1",
        ),
        (
            baileys({"listResponseMessage": {"title": "Mon", "singleSelectReply": ROW}}),
            "other",
            "Mon",
        ),
        (baileys({"buttonsResponseMessage": {"selectedDisplayText": "Yes"}}), "other", "Yes"),
        (baileys({"templateButtonReplyMessage": {"selectedDisplayText": "Yes"}}), "other", "Yes"),
        (
            baileys({"pollCreationMessageV3": {"name": "Day?", "options": [OPTION]}}),
            "other",
            "Day?\n• Mon",
        ),
        (
            baileys({"callLogMesssage": {"isVideo": False, "callOutcome": 1}}),
            "other",
            "[Missed voice call]",
        ),
        (baileys({}, messageStubType=2), "other", "[Waiting for this message]"),
        (waha(body="hi"), "text", "hi"),
        (waha(body="hi", _data={"type": "chat", "notifyName": "A"}), "text", "hi"),
        (
            waha(_data={"type": "list_response", "listResponse": {"title": "Mon"}}),
            "other",
            "Mon",
        ),
        (waha(_data={"message": {"conversation": "hi"}}), "text", "hi"),
        (meta(type="text", text={"body": "hi"}), "text", "hi"),
        (
            meta(type="image", image={"id": "1", "mime_type": "image/jpeg", "caption": "hi"}),
            "image",
            "hi",
        ),
        (
            meta(type="audio", audio={"id": "1", "mime_type": "audio/ogg", "voice": True}),
            "voice",
            "",
        ),
        (meta(type="button", button={"text": "Yes", "payload": "y"}), "other", "Yes"),
    ],
    ids=lambda value: str(value)[:70],
)
def test_a_message_of_each_dialect(payload: dict[str, Any], content: str, text: str) -> None:
    message = made(payload)
    assert isinstance(message, MessageOutcome)
    assert (message.phone, message.content, message.text) == (PHONE, content, text)


@pytest.mark.parametrize(
    "payload",
    [
        baileys({"protocolMessage": {"type": 3}}),
        baileys({"protocolMessage": {"type": "HISTORY_SYNC_NOTIFICATION"}}),
        baileys({"senderKeyDistributionMessage": {"groupId": "x"}}),
        baileys({"keepInChatMessage": {"keepType": 1}}),
        baileys({}, messageStubType="E2E_ENCRYPTED"),
        waha(_data={"type": "e2e_notification", "subtype": "encrypt"}),
        waha(_data={"type": "gp2"}),
        meta(type="system", system={"body": "changed the number"}),
        {"type": "message.incoming", "data": {"from": PHONE, "type": "notification_template"}},
        {"event": "onmessage", "from": PHONE, "type": "protocol", "body": ""},
    ],
    ids=lambda value: str(value)[:80],
)
def test_a_notice_of_each_dialect_is_no_message(payload: dict[str, Any]) -> None:
    event, (log,) = interpret({"account": ACCOUNT, **payload})
    assert event.type == "notice"
    assert getattr(log, "became") == "notice"  # noqa: B009


@pytest.mark.parametrize(
    "payload",
    [
        baileys(
            {
                "protocolMessage": {
                    "key": {"id": "3EB0BB22"},
                    "type": 14,
                    "editedMessage": {"conversation": "new"},
                }
            }
        ),
        baileys(
            {
                "editedMessage": {
                    "message": {
                        "protocolMessage": {
                            "key": {"id": "3EB0BB22"},
                            "type": "MESSAGE_EDIT",
                            "editedMessage": {"extendedTextMessage": {"text": "new"}},
                        }
                    }
                }
            }
        ),
        {
            "type": "messages.update",
            "data": {
                "key": {**KEY, "id": "3EB0BB22"},
                "update": {"message": {"editedMessage": {"message": {"conversation": "new"}}}},
            },
        },
        waha(editedMessageId="3EB0BB22", body="new") | {"event": "message.edited"},
        waha(editedMessageId="3EB0BB22", body="new"),
        meta(
            type="edit",
            edit={"original_message_id": "3EB0BB22", "message": {"text": {"body": "new"}}},
        ),
        {
            "event": "onmessage",
            "from": PHONE,
            "type": "protocol",
            "subtype": "message_edit",
            "protocolMessageKey": {"id": "3EB0BB22"},
            "body": "new",
        },
    ],
    ids=lambda value: str(value)[:100],
)
def test_an_edit_of_each_dialect(payload: dict[str, Any]) -> None:
    edit = made(payload)
    assert isinstance(edit, EditOutcome)
    assert (edit.external_ids, edit.text) == (["3EB0BB22"], "new")


@pytest.mark.parametrize(
    "payload",
    [
        baileys({"protocolMessage": {"key": {"id": "3EB0BB22"}, "type": 0}}),
        baileys({"protocolMessage": {"key": {"id": "3EB0BB22"}, "type": "REVOKE"}}),
        {
            "type": "messages.update",
            "data": {"key": {**KEY, "id": "3EB0BB22"}, "update": {"messageStubType": 1}},
        },
        waha(revokedMessageId="3EB0BB22") | {"event": "message.revoked"},
        {
            "event": "message.revoked",
            "payload": {"before": {"id": "3EB0BB22"}, "after": {"id": "X"}, "from": PHONE},
        },
        meta(type="revoke", revoke={"original_message_id": "3EB0BB22"}),
        {
            "event": "message",
            "from": PHONE,
            "type": "protocol",
            "subtype": "sender_revoke",
            "protocolMessageKey": {"id": "3EB0BB22"},
        },
    ],
    ids=lambda value: str(value)[:100],
)
def test_a_revocation_of_each_dialect(payload: dict[str, Any]) -> None:
    revoked = made(payload)
    assert isinstance(revoked, StatusOutcome)
    assert (revoked.external_ids, revoked.status) == (["3EB0BB22"], "deleted")


@pytest.mark.parametrize(
    "payload",
    [
        baileys({"reactionMessage": {"key": {"id": "3EB0BB22"}, "text": "+"}}),
        waha(reaction={"text": "+", "messageId": "3EB0BB22"}) | {"event": "message.reaction"},
        meta(type="reaction", reaction={"message_id": "3EB0BB22", "emoji": "+"}),
        {
            "type": "messages.reaction",
            "data": {
                "key": {**KEY, "id": "X"},
                "reaction": {"key": {"id": "3EB0BB22"}, "text": "+"},
            },
        },
    ],
    ids=lambda value: str(value)[:100],
)
def test_a_reaction_of_each_dialect(payload: dict[str, Any]) -> None:
    reaction = made(payload)
    assert isinstance(reaction, ReactionOutcome)
    assert (reaction.external_ids, reaction.emoji, reaction.phone) == (["3EB0BB22"], "+", PHONE)


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"type": "messages.update", "data": {"key": KEY, "update": {"status": 3}}}, "read"),
        (
            {
                "type": "messages.update",
                "data": {"keyId": "3EB0AA11", "remoteJid": JID, "status": "DELIVERY_ACK"},
            },
            "delivered",
        ),
        (
            {"event": "message.ack", "payload": {"id": "3EB0AA11", "ack": 2, "ackName": "DEVICE"}},
            "delivered",
        ),
        (
            {
                "type": "message.status",
                "data": {"id": "3EB0AA11", "recipient_id": PHONE, "status": "read"},
            },
            "read",
        ),
        (
            {
                "type": "message.status",
                "data": {"id": "3EB0AA11", "status": "failed", "errors": [{"code": 1}]},
            },
            "failed",
        ),
    ],
    ids=lambda value: str(value)[:80],
)
def test_a_status_of_each_dialect(payload: dict[str, Any], status: str) -> None:
    found = made(payload)
    assert isinstance(found, StatusOutcome)
    assert (found.external_ids, found.status) == (["3EB0AA11"], status)

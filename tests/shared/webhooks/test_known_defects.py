"""Defects of the previous integration, where they concern how events are read, stay fixed.

The numbers are those of the list of defects that the project began with. Further defects are
tested with routing, contacts, statuses, storage and phones.
"""

from typing import Any

import pytest

from shared.outcomes import EditOutcome, LogOutcome, MessageOutcome, SessionOutcome, StatusOutcome
from shared.webhooks.attachments import find_attachment
from shared.webhooks.payload import parse_payload
from tests.shared.webhooks.webhook_events import ACCOUNT, classify, identity, interpret

FLAT = {"account": ACCOUNT, "from": "+79990001122", "type": "chat"}
PHOTO = {"mimetype": "image/jpeg", "filename": "file", "base64": "/9j/4AAQ" + "A" * 5000}
WHATSAPP_ID = "true_79990001122@c.us_3EB0BB22"


def message(payload: dict[str, Any]) -> MessageOutcome:
    found, _ = interpret(payload)[1]
    assert isinstance(found, MessageOutcome)
    return found


def status(payload: dict[str, Any]) -> StatusOutcome:
    found, _ = interpret(payload)[1]
    assert isinstance(found, StatusOutcome)
    return found


def log(payload: dict[str, Any]) -> LogOutcome:
    found = interpret(payload)[1][-1]
    assert isinstance(found, LogOutcome)
    return found


@pytest.mark.parametrize("key", ["qr", "qrCode", "qrcode"])
@pytest.mark.parametrize("nested", [True, False])
def test_defect_03_a_qr_code_is_found_under_each_name(
    key: str,
    nested: bool,  # noqa: FBT001
) -> None:
    payload = (
        {"type": "qr", "data": {"account": ACCOUNT, key: "2@A"}}
        if nested
        else {"type": "qr", key: "2@A"}
    )
    session = interpret(payload)[1][0]
    assert isinstance(session, SessionOutcome)
    assert (session.status, session.qr) == ("qr_issued", "2@A")


@pytest.mark.parametrize(
    "word", ["chat", "image", "file", "audio", "video", "document", "ptt", "sticker", "hologram"]
)
def test_defect_08_every_type_of_message_is_handled(word: str) -> None:
    assert message(FLAT | {"type": word, "text": "x"}).phone == "79990001122"


def test_defect_08_a_delivery_is_handled() -> None:
    assert (
        status(
            {"type": "delivery", "account": ACCOUNT, "messageId": "task_77", "status": "read"}
        ).status
        == "read"
    )


@pytest.mark.parametrize(
    "placeholder", ["[Image]", "[IMAGE] ", "[video]", "[Media]", "[Ptt]", "[Voice]", "[File]"]
)
def test_defect_10_a_placeholder_is_never_a_caption(placeholder: str) -> None:
    assert (
        message(FLAT | {"type": "image", "text": f"{placeholder}my homework", "media": PHOTO}).text
        == "my homework"
    )


@pytest.mark.parametrize(
    "text",
    [
        "data: 12 maja, godz. 10",
        "data:image/png;base64,AAAA is how a data URL begins",
        "https" + "x" * 300 + " see?",
        "h" + "a" * 400,
    ],
)
@pytest.mark.parametrize("field", ["text", "body"])
def test_defect_10_a_written_text_is_never_taken_for_a_file(field: str, text: str) -> None:
    """In the row, in the log and in an edit."""
    payload = FLAT | {field: text}
    assert (message(payload).text, message(payload).media_state) == (text, "none")
    assert log(payload).payload[field] == text
    edit = {
        "type": "message.edited",
        "data": {"messageId": WHATSAPP_ID, "from": "+79990001122", field: text},
    }
    found, logged = interpret(edit)[1]
    assert isinstance(found, EditOutcome)
    assert isinstance(logged, LogOutcome)
    assert found.text == logged.payload["data"][field] == text


def test_defect_10_a_file_in_place_of_a_text_is_no_text() -> None:
    """Older versions put a picture, or its preview, into the text of a message or of its quote."""
    picture = "/9j/4AAQ" + "A" * 5000
    assert message(FLAT | {"type": "image", "body": picture}).text == "[Image]"
    answer = FLAT | {"text": "nice", "quotedMsg": {"type": "image", "body": picture}}
    assert picture not in log(FLAT | {"type": "image", "body": picture}).model_dump_json()
    assert picture not in log(answer).model_dump_json()


def test_defect_10_the_file_stays_in_the_event_and_its_type_is_a_mime_type() -> None:
    payload = FLAT | {"type": "image", "text": "[Image]", "media": PHOTO}
    assert message(payload).file_type == "image/jpeg"
    assert message(payload).media_state == "pending"
    file = find_attachment(parse_payload(payload).fields)
    assert file is not None
    assert file.base64 == PHOTO["base64"]


def test_defect_11_task_ids_and_whatsapp_ids_are_told_apart() -> None:
    both = status(
        {
            "type": "message.status",
            "data": {"taskId": "task_77", "waMessageId": WHATSAPP_ID, "status": "read"},
        }
    )
    assert (both.task_id, both.wa_message_id) == ("task_77", WHATSAPP_ID)
    one = status({"type": "delivery", "messageId": WHATSAPP_ID, "status": "read"})
    assert (one.task_id, one.wa_message_id) == (None, WHATSAPP_ID)
    other = status({"type": "delivery", "messageId": "task_77", "status": "read"})
    assert (other.task_id, other.wa_message_id, other.external_ids) == (None, None, ["task_77"])


def test_a_sender_has_the_name_that_they_chose() -> None:
    assert message(FLAT | {"text": "x", "notifyName": " Anna "}).peer_name == "Anna"


@pytest.mark.parametrize(
    "event",
    [FLAT | {"text": "x"}, {"type": "qr", "qr": "2@A"}, {"type": "message.dead", "taskId": "t"}],
)
def test_defect_23_an_event_for_another_account_changes_nothing(event: dict[str, Any]) -> None:
    """The key of the URL proves its account only."""
    _, outcomes = interpret(event | {"account": "0000000000043"})
    assert [type(outcome) for outcome in outcomes] == [LogOutcome]
    assert log(event | {"account": "0000000000043"}).became == "foreign_account"


def test_defect_26_a_retried_event_is_the_same_event() -> None:
    payload = {
        "id": "evt_1",
        "type": "message.incoming",
        "created": 1770000000,
        "data": FLAT | {"text": "x"},
    }
    assert identity(payload) == identity(payload | {"attempt": 2})
    assert message(payload).id == message(payload | {"attempt": 2}).id


def test_defect_26_events_with_the_same_id_and_time_are_one_row() -> None:
    """An added field has no effect; a reused id with a later time is a new event."""
    payload = {
        "id": "evt_1",
        "type": "message.incoming",
        "created": 1770000000,
        "data": FLAT | {"text": "x"},
    }
    assert message(payload).id == message(payload | {"signed": "later"}).id
    assert message(payload).id != message(payload | {"created": 1780000000}).id


def test_defect_32_a_dead_message_has_failed_with_a_reason() -> None:
    dead = status(
        {"type": "message.dead", "data": {"taskId": "task_79", "reason": "no such number"}}
    )
    assert (dead.status, dead.error, dead.task_id) == ("failed", "no such number", "task_79")


def test_defect_32_a_sent_message_has_both_ids() -> None:
    sent = status(
        {"type": "message.sent", "data": {"taskId": "task_77", "waMessageId": WHATSAPP_ID}}
    )
    assert (sent.status, sent.task_id, sent.wa_message_id) == ("sent", "task_77", WHATSAPP_ID)


def test_defect_32_a_status_is_for_its_own_account() -> None:
    assert (
        status({"type": "delivery", "messageId": "task_77", "status": "deleted"}).account == ACCOUNT
    )


@pytest.mark.parametrize(
    ("posted", "stored"),
    [
        ("../../etc/passwd.pdf", "passwd.pdf"),
        ("C:\\Users\\me\\homework.pdf", "homework.pdf"),
        ("photo.pdf.pdf", "photo.pdf.pdf"),
        ("a/b?c=d&e#f.pdf", "b_c_d_e_f.pdf"),
        (".htaccess", "htaccess.pdf"),
        ("fdp.\u202eexe.pdf", "fdp.exe.pdf"),
        ("x" * 500 + ".pdf", "x" * 116 + ".pdf"),
        ("file", "document.pdf"),
        ("", "document.pdf"),
        ("/", "document.pdf"),
    ],
)
def test_defect_37_a_files_name_is_safe_and_keeps_its_extension(posted: str, stored: str) -> None:
    media = {"mimetype": "application/pdf", "filename": posted, "base64": "JVBERi0"}
    assert message(FLAT | {"type": "document", "text": "", "media": media}).file_name == stored


def test_defect_37_parameters_and_prefixes_do_not_hide_a_type() -> None:
    voice = FLAT | {
        "type": "ptt",
        "media": {"mimetype": "audio/ogg; codecs=opus", "base64": "T2dn"},
    }
    assert (message(voice).file_type, message(voice).file_name) == ("audio/ogg", "voice.ogg")
    image = FLAT | {"type": "image", "media": {"base64": "data:image/png;base64,iVBORw0KGgo"}}
    assert (message(image).file_type, message(image).file_name) == ("image/png", "image.png")
    file = find_attachment(parse_payload(image).fields)
    assert file is not None
    assert file.base64 == "iVBORw0KGgo"


def test_defect_37_the_log_keeps_no_file() -> None:
    logged = log(FLAT | {"type": "image", "text": "[Image] my homework", "media": PHOTO})
    assert PHOTO["base64"] not in logged.model_dump_json()
    assert logged.payload["text"] == "[Image] my homework"
    assert logged.payload["media"]["mimetype"] == "image/jpeg"


@pytest.mark.parametrize(
    "payload", [{"text": "[Image]"}, {"text": ""}, {"text": "[Image]", "media": {}}]
)
def test_defect_37_no_message_is_shown_empty(payload: dict[str, Any]) -> None:
    """The placeholder stays where there is no file; a file shows its name."""
    assert message(FLAT | {"type": "image"} | payload).text == "[Image]"
    assert (
        message(FLAT | {"type": "image", "text": "[Image]", "media": PHOTO}).file_name
        == "image.jpg"
    )


def test_defect_42_a_message_has_the_platforms_time() -> None:
    at = message(FLAT | {"text": "x", "timestamp": 1770000000}).at
    assert at.replace(microsecond=0).isoformat() == "2026-02-02T02:40:00+00:00"


@pytest.mark.parametrize(
    "fields",
    [
        {"raw_from": "120363012345678901@g.us", "from": "+120363012345678901"},
        {"from": "status@broadcast"},
        {"from": "0@c.us"},
        {"fromMe": True, "from": "79995550000@c.us", "to": "120363012345678901@g.us"},
        {"isGroup": True},
    ],
)
def test_defect_43_groups_stories_and_services_become_no_contacts(fields: dict[str, Any]) -> None:
    event, outcomes = interpret(FLAT | {"text": "x"} | fields)
    assert (event.type, event.peer) == ("ignored_chat", None)
    assert [type(outcome) for outcome in outcomes] == [LogOutcome]


@pytest.mark.parametrize(
    ("fields", "own"),
    [
        ({"from": "123456789012345@lid"}, False),
        ({"from": "+123456789012345", "raw_from": "123456789012345@lid"}, False),
        ({"from": "+123456789012345"}, False),  # without its suffix
        ({"fromMe": True, "from": "79995550000@c.us", "to": "123456789012345@lid"}, True),
        ({"fromMe": True, "from": "79995550000@c.us", "chatId": "123456789012345@lid"}, True),
    ],
)
def test_defect_43_a_message_of_a_hidden_number_is_stored_without_a_contact(
    fields: dict[str, Any],
    own: bool,  # noqa: FBT001
) -> None:
    """An own message to a hidden number is not filed under the account's number."""
    found = message(FLAT | {"text": "x"} | fields)
    assert (found.phone, found.outgoing, found.lid) == ("", own, "123456789012345@lid")
    event = classify(FLAT | {"text": "x"} | fields)
    assert (event.peer, event.conversation) == (None, "123456789012345@lid")


@pytest.mark.parametrize("kind", ["video", "audio", "document", "image"])
def test_defect_44_every_type_of_file_keeps_its_caption(kind: str) -> None:
    assert (
        message(FLAT | {"type": kind, "text": f"[{kind.title()}] look", "media": PHOTO}).text
        == "look"
    )


def test_defect_47_the_log_keeps_no_secret() -> None:
    secrets = {
        "apiKey": "k-1",
        "token": "t-1",
        "Authorization": "Bearer b-1",
        "nested": {"mediaKey": "m-1"},
    }
    text = log(
        FLAT | {"text": "x", "media": {"url": "https://media.example/f?sig=s-1"}} | secrets
    ).model_dump_json()
    assert not [secret for secret in ("k-1", "t-1", "b-1", "m-1", "s-1") if secret in text]


def test_defect_47_a_pairing_code_is_in_the_session_and_not_in_the_log() -> None:
    session, logged = interpret({"type": "qr", "data": {"qr": "2@PairingSecret"}})[1]
    assert isinstance(session, SessionOutcome)
    assert session.qr == "2@PairingSecret"
    assert "PairingSecret" not in logged.model_dump_json()


def test_an_echo_is_filed_under_its_recipient() -> None:
    """Some versions put the account's own number in `from`."""
    own = {
        "from": "79995550000@c.us",
        "to": "79990001122@c.us",
        "fromMe": True,
        "text": "x",
        "type": "chat",
    }
    assert (message(own).phone, message(own).outgoing) == ("79990001122", True)
    assert classify(own).peer == "79990001122"

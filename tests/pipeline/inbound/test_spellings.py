"""A message ends in the same row in any spelling of its id, in any envelope and in any order."""

from collections.abc import Iterator
from itertools import permutations, product
from typing import Any

from tests.pipeline.inbound.inbound_pipeline import InboundPipeline

PHONE, LID, OWN = "79990001122", "160958000000777@lid", "79995550000"
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
SPELLINGS: tuple[str, ...] = (
    "{key}",
    f"{{own}}_{PHONE}@c.us_{{key}}",
    f"{{own}}_{PHONE}@s.whatsapp.net_{{key}}",
    f"{{own}}_{LID}_{{key}}",
    f"{PHONE}@c.us_{{key}}",
    f"{{own}}_{PHONE}@c.us_{{key}}_{PHONE}@c.us",
    f"{{own}}_{PHONE}@c.us_{{key}}_out",
)
MESSAGES: tuple[dict[str, Any], ...] = (
    {"type": "chat", "text": "Hello"},
    {"type": "chat", "body": "Answered", "fromMe": True},
    {"type": "image", "text": ""},
    {"type": "list_response", "listResponse": {"title": "Monday"}},
    {"type": "vcard", "body": "BEGIN:VCARD\nFN:Anna\nTEL:1\nEND:VCARD"},
    {"type": "location", "lat": 1.5, "lng": 2.5},
)
ENVELOPES = ("flat", "enveloped", "WPPConnect", "WAHA", "list")


def spell(spelling: str, key: str, *, own: bool) -> str:
    return spelling.format(own="true" if own else "false", key=key)


def envelop(envelope: str, fields: dict[str, Any], name: str) -> Any:
    """Return an event with the fields of a message whose id is `name`."""
    inner = fields.get("type")
    match envelope:
        case "flat":
            return {**fields, "messageId": name}
        case "enveloped":
            return {"id": f"evt_{name}", "type": "message", "data": {**fields, "messageId": name}}
        case "WPPConnect":
            return {"event": "onanymessage", "session": "s", **fields, "id": {"_serialized": name}}
        case "WAHA":
            payload = {**fields, "id": name, "_data": {"type": inner}}
            return {"id": f"evt_{name}", "event": "message.any", "payload": payload}
        case _:
            return [{**fields, "waMessageId": name}]


def address(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with both ends of the message."""
    ends = (OWN, PHONE) if fields.get("fromMe") else (PHONE, OWN)
    return {**fields, "from": f"{ends[0]}@c.us", "to": f"{ends[1]}@c.us"}


def test_a_message_is_one_row_in_any_spelling_and_envelope(pipeline: InboundPipeline) -> None:
    """Each pair of a first event and a second event, in another spelling or envelope."""
    count = 0
    for number, (fields, spelling, envelope) in enumerate(product(MESSAGES, SPELLINGS, ENVELOPES)):
        key = f"3EB0{number:012X}"
        own = fields.get("fromMe") is True
        first = SPELLINGS[number % len(SPELLINGS)]
        pipeline.post(
            envelop("flat", address(fields), spell(first, key, own=own)),
            envelop(envelope, address(fields), spell(spelling, key, own=own)),
        )
        count += 1
    pipeline.settle()
    rows = pipeline.messages()
    assert len(rows) == count
    assert len({row["client_id"] for row in rows}) == 1
    assert not [row for row in rows if "conflicts" in row["metadata"]]
    shown = {(row["message_text"], row["is_outgoing"]) for row in rows}
    assert shown == {
        *(("Hello", False), ("Answered", True), ("[Image]", False)),
        *(("Monday", False), ("Anna, 1", False), ("1.5, 2.5", False)),
    }


def list_events(key: str) -> Iterator[dict[str, Any]]:
    """Yield what tells of a message, each in a spelling of its own."""
    sent = address({"fromMe": True, "type": "image", "text": "", "timestamp": 1770000000})
    names = [spell(spelling, key, own=True) for spelling in SPELLINGS]
    yield {**sent, "messageId": names[0], "hasMedia": True, "media": None}
    yield {**sent, "messageId": names[1], "text": "my homework"}
    yield {**sent, "messageId": names[2], "media": {"mimetype": "image/png", "base64": PNG}}
    yield {"event": "onack", "id": {"_serialized": names[3]}, "ack": 3}
    yield {
        **sent,
        "type": "message.edited",
        "id": f"X{key}",
        "editedMessageId": names[4],
        "body": "edited",
        "timestamp": 1770000005,
    }
    yield {"type": "message.revoked", "from": f"{PHONE}@c.us", "before": {"id": names[5]}}


def test_the_order_of_what_tells_of_a_message_does_not_matter(pipeline: InboundPipeline) -> None:
    """Stand-in, text, file, read receipt, edit and revocation, in each twelfth of their orders."""
    orders = list(permutations(range(6)))[::12]
    events = [list(list_events(f"3EB1{number:012X}")) for number in range(len(orders))]
    for step in range(6):
        pipeline.post(*(events[number][order[step]] for number, order in enumerate(orders)))
        pipeline.settle()
    rows = pipeline.messages()
    assert len(rows) == len(orders)
    ends = {
        (
            row["message_text"],
            row["message_status"],
            row["file_type"],
            row["metadata"].get("original_text"),
            row["metadata"].get("media_state"),
            row["metadata"].get("conflicts"),
            row["metadata"].get("stand_in"),
        )
        for row in rows
    }
    assert ends == {("edited", "deleted", "image/png", "my homework", "stored", None, None)}
    assert pipeline.env.sql("select * from wpp.parked_outcomes") == []

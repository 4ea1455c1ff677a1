"""The platform's request for each type of message, field by field."""

from typing import Any
from uuid import uuid4

import pytest

from shared.events import Reply, SendEvent, SentContact, SentLocation, SentMedia
from shared.platform.payloads import (
    build_caption,
    build_message,
    compose_map_link,
    list_substitutes,
)

TO = "79990001122"
URL = "https://files.test/folder/my%20report.pdf?v=1"


def event(
    text: str = "",
    media: dict[str, Any] | None = None,
    location: SentLocation | None = None,
    **more: Any,
) -> SendEvent:
    return SendEvent(
        id=uuid4(),
        organization_id=uuid4(),
        integration_id=uuid4(),
        to=TO,
        text=text,
        media=SentMedia.model_validate(media) if media else None,
        location=location,
        **more,
    )


def test_a_text_message() -> None:
    endpoint, body = build_message("42", event("Hello"))
    assert (endpoint.name, body) == ("text", {"type": "text", "to": TO, "text": "Hello"})


@pytest.mark.parametrize("text", ["", "Look"])
def test_an_image_always_has_a_caption(text: str) -> None:
    endpoint, body = build_message("42", event(text, {"type": "image", "url": URL}))
    assert (endpoint.name, body) == (
        "image",
        {"type": "image", "to": TO, "url": URL, "caption": text},
    )


@pytest.mark.parametrize("kind", ["video", "audio", "voice", "document"])
def test_other_media_are_sent_as_files(kind: str) -> None:
    """The file has the given name; its caption is a text of its own."""
    message = event("Look", {"type": kind, "url": URL, "filename": "a.bin"})
    endpoint, body = build_message("42", message)
    assert endpoint.name == "file"
    assert body == {"type": "file", "to": TO, "url": URL, "filename": "a.bin"}
    assert build_caption(message) == "Look"
    assert list_substitutes(message) == [
        "caption_as_text",
        *(["voice_as_file"] if kind == "voice" else []),
    ]


CONTACT = SentContact(name="Anna", phones=("+7 999 000-11-22", "+7 999 000-33-44"))
REPLY = Reply(message_id=uuid4(), quote="First\nSecond")
PICTURE = {"type": "image", "url": URL}
DOCUMENT = {"type": "document", "url": URL}


@pytest.mark.parametrize(
    ("message", "text", "substitutes"),
    [
        (event("Yes", reply=REPLY), "> First\n> Second\nYes", ["quoted_text"]),
        (
            event(contact=CONTACT),
            "👤 Anna\n+7 999 000-11-22\n+7 999 000-33-44",
            ["contact_as_text"],
        ),
        (
            event(contact=CONTACT, reply=REPLY),
            "> First\n> Second\n👤 Anna\n+7 999 000-11-22\n+7 999 000-33-44",
            ["contact_as_text", "quoted_text"],
        ),
    ],
    ids=["reply", "contact", "contact as a reply"],
)
def test_what_the_platform_has_no_call_for_is_a_text(
    message: SendEvent, text: str, substitutes: list[str]
) -> None:
    endpoint, body = build_message("42", message)
    assert (endpoint.name, body["text"]) == ("text", text)
    assert list_substitutes(message) == substitutes


@pytest.mark.parametrize("text", ["", "Look"])
def test_a_file_that_answers_has_the_quote_in_its_caption(text: str) -> None:
    caption = "\n".join(filter(None, ("> First\n> Second", text)))
    assert build_message("42", event(text, PICTURE, reply=REPLY))[1]["caption"] == caption
    assert build_caption(event(text, PICTURE, reply=REPLY)) == ""
    assert build_caption(event(text, DOCUMENT, reply=REPLY)) == caption


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "https://maps.google.com/?q=55.75,37.62"),
        (
            {"name": "Office", "address": "Main St 1"},
            "📍 Office\nMain St 1\nhttps://maps.google.com/?q=55.75,37.62",
        ),
    ],
    ids=["coordinates", "name and address"],
)
def test_a_location_as_a_text_leads_to_a_map(fields: dict[str, str], text: str) -> None:
    place = SentLocation.model_validate({"lat": 55.75, "lng": 37.62, **fields})
    assert compose_map_link(event(location=place)) == text


@pytest.mark.parametrize(
    ("kind", "url", "expected"),
    [
        ("document", URL, "my report.pdf"),
        ("video", "https://files.test/", "video.mp4"),
        ("audio", "https://files.test", "audio.mp3"),
        ("voice", "https://files.test/", "voice.ogg"),
        ("document", "https://files.test/", "document"),
    ],
)
def test_a_file_without_a_name_gets_one(kind: str, url: str, expected: str) -> None:
    """The name is the URL's last part, else the default of its type; no text means no caption."""
    _, body = build_message("42", event(media={"type": kind, "url": url}))
    assert body["filename"] == expected
    assert "caption" not in body


def test_a_location_names_its_account() -> None:
    """The body follows the older contract and omits unknown fields."""
    endpoint, body = build_message(
        "42", event(location=SentLocation(lat=55.75, lng=37.62, name="Moscow"))
    )
    assert endpoint.name == "location"
    assert body == {
        "type": "location",
        "account": "42",
        "to": TO,
        "lat": 55.75,
        "lng": 37.62,
        "name": "Moscow",
    }


@pytest.mark.parametrize(
    ("kind", "url", "mime", "expected"),
    [
        ("document", "https://files.test/files/8f2c", "application/pdf", "8f2c.pdf"),
        ("document", "https://files.test/a.pdf", "text/plain", "a.pdf"),
        ("document", "https://files.test/v1.2-final", "application/pdf", "v1.2-final.pdf"),
        ("document", "https://files.test/8f2c", "application/x-unknown", "8f2c"),
        ("document", "https://files.test/", "Text/CSV; charset=utf-8", "document.csv"),
        ("voice", "https://files.test/", "audio/mp4", "voice.m4a"),
        ("audio", "https://files.test/8f2c", None, "8f2c"),
    ],
)
def test_a_name_of_a_url_gets_the_extension_of_its_type(
    kind: str, url: str, mime: str | None, expected: str
) -> None:
    """A phone chooses the program that opens a file by its extension."""
    media = {"type": kind, "url": url, "mime": mime}
    assert build_message("42", event(media=media))[1]["filename"] == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("report.pdf", "report.pdf"),
        ("Договор № 5 (копия).pdf", "Договор № 5 (копия).pdf"),
        ("README", "README"),
        ("क्\u200dष.pdf", "क्\u200dष.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\anna\\report.pdf", "report.pdf"),
        ("a\r\nb\x00\x1b[0m.pdf", "a b[0m.pdf"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("..hidden.pdf.", "hidden.pdf"),
        ("  a   b .pdf ", "a b.pdf"),
        ('a"b<c>:d|e?f*.pdf', "a_b_c__d_e_f_.pdf"),
        ("x" * 240 + ".pdf", "x" * 196 + ".pdf"),
        ("я" * 250 + ".pdf", "я" * 98 + ".pdf"),
        ("..", "document"),
        ("folder/", "document"),
        ("\u202e\u200b\ufeff", "document"),
    ],
)
def test_a_file_name_is_cleaned(given: str, expected: str) -> None:
    """No path, no control or formatting characters, at most 200 bytes; else the default name."""
    media = {"type": "document", "url": "https://files.test/", "filename": given}
    assert build_message("42", event(media=media))[1]["filename"] == expected

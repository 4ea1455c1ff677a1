"""The platform's request for each type of message, field by field."""

from typing import Any
from uuid import uuid4

import pytest

from shared.events import Location, Media, SendEvent
from shared.platform.payloads import build_message

TO = "79990001122"
URL = "https://files.test/folder/my%20report.pdf?v=1"


def event(
    text: str = "", media: dict[str, Any] | None = None, location: Location | None = None
) -> SendEvent:
    return SendEvent(
        id=uuid4(),
        organization_id=uuid4(),
        integration_id=uuid4(),
        to=TO,
        text=text,
        media=Media.model_validate(media) if media else None,
        location=location,
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
    """The file has the given name, and the text as caption."""
    endpoint, body = build_message(
        "42", event("Look", {"type": kind, "url": URL, "filename": "a.bin"})
    )
    assert endpoint.name == "file"
    assert body == {"type": "file", "to": TO, "url": URL, "filename": "a.bin", "caption": "Look"}


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
        "42", event(location=Location(lat=55.75, lng=37.62, name="Moscow"))
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

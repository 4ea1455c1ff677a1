"""Files are found in every place where the platform puts them, and get safe names."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.webhooks.attachments import (
    MAX_NAME,
    Attachment,
    build_file_name,
    find_attachment,
    resolve_mime_type,
)

LONG = "/9j/4AAQ" * 40


@pytest.mark.parametrize(
    ("fields", "attachment"),
    [
        (
            {"media": {"base64": "AAAA", "mimetype": "image/PNG; x=1"}},
            Attachment(base64="AAAA", mime="image/png"),
        ),
        (
            {"media": {"url": "https://m.example/f", "fileName": "a.pdf"}},
            Attachment(url="https://m.example/f", name="a.pdf"),
        ),
        (
            {"media": {"url": "data:image/gif;base64,R0lG"}},
            Attachment(base64="R0lG", mime="image/gif"),
        ),
        (
            {"media": {"base64": "data:audio/ogg; codecs=opus;base64,T2dn"}},
            Attachment(base64="T2dn", mime="audio/ogg"),
        ),
        ({"media": "https://m.example/f"}, Attachment(url="https://m.example/f")),
        ({"mediaUrl": "https://m.example/f"}, Attachment(url="https://m.example/f")),
        ({"mimetype": "image/jpeg", "body": LONG}, Attachment(base64=LONG, mime="image/jpeg")),
        ({"media": {"mimetype": "image/jpeg"}}, Attachment(mime="image/jpeg")),
        ({"media": {"mimetype": "no type"}}, Attachment()),
    ],
)
def test_a_file_is_found_in_every_place(fields: dict[str, Any], attachment: Attachment) -> None:
    assert find_attachment(fields) == attachment


@pytest.mark.parametrize(
    "fields", [{}, {"media": None}, {"media": {}}, {"media": []}, {"media": 1}, {"body": LONG}]
)
def test_an_event_without_a_file_has_none(fields: dict[str, Any]) -> None:
    assert find_attachment(fields) is None


@pytest.mark.parametrize(
    ("attachment", "kind", "mime"),
    [
        (Attachment(mime="image/webp"), "image", "image/webp"),
        (Attachment(name="scan.PNG"), "document", "image/png"),
        (Attachment(url="https://m.example/a/b.mp4?sig=1"), "document", "video/mp4"),
        (Attachment(), "voice", "audio/ogg"),
        (Attachment(), "document", "application/octet-stream"),
    ],
)
def test_the_declared_type_counts_before_the_name_and_the_default(
    attachment: Attachment, kind: str, mime: str
) -> None:
    assert resolve_mime_type(attachment, kind) == mime


@settings(deadline=None)
@given(
    st.text(max_size=300),
    st.sampled_from(["image", "document", "other"]),
    st.sampled_from([None, "image/png"]),
)
def test_any_name_becomes_a_safe_name(name: str, kind: str, mime: str | None) -> None:
    safe = build_file_name(Attachment(name=name, mime=mime), kind)
    assert 0 < len(safe) <= MAX_NAME
    assert not re.search(r'[\x00-\x1f\x7f/\\<>:"|?*%#\u202e\s]', safe)
    assert not safe.startswith(".")
    assert build_file_name(Attachment(name=safe, mime=mime), kind) == safe

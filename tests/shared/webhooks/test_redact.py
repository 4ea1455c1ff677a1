"""The log stores texts; files, secrets and values beyond its limits are only mentioned."""

import json
from typing import Any

import pytest

from shared.events import MAX_TEXT_CHARS
from shared.webhooks.redact import MAX_BYTES, redact_payload


def test_texts_are_stored_unchanged() -> None:
    payload = {
        "type": "chat",
        "from": "+79990001122",
        "text": "https://a.example/?q=1 " * 20,
        "n": [1, 2.5, None, True],
    }
    assert redact_payload(payload) == payload


def test_the_longest_text_of_a_message_is_stored_whole() -> None:
    text = "long story " * (MAX_TEXT_CHARS // 11)
    assert redact_payload({"text": text})["text"] == text


@pytest.mark.parametrize("name", ["base64", "body", "anything"])
def test_a_file_in_any_field_is_only_mentioned(name: str) -> None:
    assert redact_payload({"media": {name: "/9j/4AAQ" * 100}}) == {
        "media": {name: "[file of 800 characters omitted]"}
    }
    assert redact_payload({name: "data:image/png;base64,iVBO"}) == {
        name: "[file of 26 characters omitted]"
    }


@pytest.mark.parametrize(
    "name", ["apiKey", "api_key", "wppJwtToken", "X-Secret", "password", "mediaKey", "qr", "qrcode"]
)
def test_a_secret_is_only_mentioned(name: str) -> None:
    assert redact_payload({"data": {name: "value"}}) == {"data": {name: "[secret]"}}


def test_the_signature_of_a_link_to_a_file_is_cut() -> None:
    assert redact_payload({"mediaUrl": "https://m.example/f?sig=1\n2"}) == {
        "mediaUrl": "https://m.example/f?[signature]"
    }


@pytest.mark.parametrize(
    "payload",
    [
        {f"k{n}": "words and words " * 50 for n in range(1000)},
        {"a": [[["x " * 100] * 100] * 100] * 100},
        {str(n) * 100: n for n in range(50_000)},
        {"text": "я" * 1_000_000},
    ],
)
def test_no_log_entry_is_large(payload: dict[str, Any]) -> None:
    assert len(json.dumps(redact_payload(payload))) <= MAX_BYTES


def test_omitted_values_are_counted() -> None:
    assert redact_payload({"list": list(range(2000))})["list"][-1] == "[1001 omitted]"

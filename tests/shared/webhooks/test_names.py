"""A name is what a person can see."""

from typing import Any

import pytest

from shared.webhooks.names import find_sender_name


@pytest.mark.parametrize(
    "name",
    [
        *("\u200b", "\u200e\u200f", "\u3164", "\u2800", "\u115f\u1160", "\uffa0", "\u00ad"),
        *("\u00a0", "\u2060\ufeff", "\u034f", "\ufe0f", "", "   ", "…", "-", "+7 999 000-11-22"),
        *("\u202a+79990001122\u202c", "\uff11\uff12", "\u2011", None, 5, [], {}),
    ],
    ids=ascii,
)
def test_a_name_without_a_visible_letter_or_symbol_is_no_name(name: object) -> None:
    assert find_sender_name({"notifyName": name, "pushname": "Anna"}) == "Anna"
    assert find_sender_name({"notifyName": name}) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Анна", "Анна"),
        ("\u200bAnna\u2069", "Anna"),
        ("\u3164Anna \u3164", "Anna"),
        ("🌸", "🌸"),
        ("❤️", "❤️"),
        ("प्रिया", "प्रिया"),
        ("👩‍👧", "👩‍👧"),
        ("A" * 300, "A" * 255),
    ],
)
def test_a_name_is_shown_without_blanks_around_it(name: str, shown: str) -> None:
    assert find_sender_name({"pushName": name}) == shown


@pytest.mark.parametrize(
    "fields",
    [
        *({"notifyName": "Anna"}, {"pushname": "Anna"}, {"senderName": "Anna"}),
        *({"sender": {"pushname": "Anna"}}, {"profile": {"name": "Anna"}}, {"fromName": "Anna"}),
    ],
)
def test_the_name_is_found_in_every_field(fields: dict[str, Any]) -> None:
    assert find_sender_name(fields) == "Anna"

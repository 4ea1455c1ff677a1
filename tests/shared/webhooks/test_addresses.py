"""Addresses are read in every usual spelling."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.phones import E164_DIGITS
from shared.webhooks.addresses import Address, read_address, spell_address

PHONE = "79990001122"


@pytest.mark.parametrize(
    "raw",
    [
        PHONE,
        f"+{PHONE}",
        f"00{PHONE}",
        f"{PHONE}@c.us",
        f"+{PHONE}@s.whatsapp.net",
        f"{PHONE}@C.US",
        f" {PHONE}@c.us ",
        f"{PHONE}@hosted",
        f"{PHONE}:12@s.whatsapp.net",
        f"{PHONE}.0:5@s.whatsapp.net",
        f"{PHONE}_1:5@s.whatsapp.net",
        f"{PHONE}:3",
        f"whatsapp:+{PHONE}",
        f"WhatsApp:{PHONE}",
        f"tel:+{PHONE}",
        f"https://wa.me/{PHONE}",
        "+7 (999) 000-11-22",
        "+7\u00a0999\u2011000\u201111\u201122",
        "+7.999.000.11.22",
        f"\u202a+{PHONE}\u202c",
        f"\u200e+{PHONE}\u2069",
        "+\uff17\uff19\uff19\uff190001122",
        "+\u0667\u0669\u0669\u0669\u0660\u0660\u0660\u0661\u0661\u0662\u0662",
        "8 (999) 000-11-22",
    ],
)
def test_a_person_is_known_in_every_spelling_of_the_phone(raw: str) -> None:
    assert read_address(raw) == Address("person", phone=PHONE)


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        ("+49 (0)151 23456789", Address("person", phone="4915123456789")),
        ("160958000000777@lid", Address("lid", lid="160958000000777@lid")),
        ("160958000000777:4@lid", Address("lid", lid="160958000000777@lid")),
        ("160958000000777@hosted.lid", Address("lid", lid="160958000000777@lid")),
        ("160958000000777@LID", Address("lid", lid="160958000000777@lid")),
        ("+160958000000777", Address("lid", lid="160958000000777@lid")),
        ("120363012345678901@g.us", Address("group")),
        ("120363012345678901", Address("group")),
        ("79990001122-1500000000@g.us", Address("group")),
        ("120363099@newsletter", Address("group")),
        ("status@broadcast", Address("story")),
        ("1658883349@broadcast", Address("list")),
        ("0@c.us", Address("service")),
        ("0", Address("service")),
        ("718584497008509@bot", Address("service")),
        ("%", Address("unreadable")),
        ("anna@example.org", Address("unreadable")),
        ("x@lid", Address("unreadable")),
        ("+7", Address("unreadable")),
    ],
)
def test_each_kind_of_address_is_told(raw: str, address: Address) -> None:
    assert read_address(raw) == address


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (PHONE, PHONE),
        (int(PHONE), PHONE),
        ({"_serialized": f"{PHONE}@c.us"}, f"{PHONE}@c.us"),
        ({"user": PHONE, "server": "c.us"}, f"{PHONE}@c.us"),
        ({"id": {"_serialized": f"{PHONE}@c.us"}}, f"{PHONE}@c.us"),
        ({"id": f"{PHONE}@c.us"}, f"{PHONE}@c.us"),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_an_address_may_be_an_object(value: Any, text: str | None) -> None:
    assert spell_address(value) == text


@given(st.text(max_size=40) | st.from_regex(r"[0-9+:.@a-z_ -]{0,30}", fullmatch=True))
def test_any_text_is_an_address_of_some_kind(raw: str) -> None:
    address = read_address(raw)
    assert (address.phone is not None) == (address.kind == "person")
    assert address.phone is None or E164_DIGITS.fullmatch(address.phone)
    assert address.lid is None or address.lid.endswith("@lid")

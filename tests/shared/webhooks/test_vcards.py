"""Contacts are read from vCards 2.1 to 4.0, in every encoding, and from Meta's objects."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.webhooks.vcards import parse_vcards


def card(*lines: str, end: str = "\r\n") -> str:
    return end.join(["BEGIN:VCARD", *lines, "END:VCARD"])


ANNA = {"name": "Анна", "phones": ["+79990001122"]}


@pytest.mark.parametrize(
    "vcard",
    [
        card("VERSION:3.0", "FN:Анна", "TEL;type=CELL;waid=79990001122:+79990001122"),
        card("VERSION:3.0", "FN:Анна", "item1.TEL:+79990001122", end="\n"),
        card("VERSION:3.0", "N:;Анна;;;", "TEL:+79990001122"),
        card("VERSION:3.0", "FN:", "ORG:Анна;", "TEL:+79990001122"),
        card("VERSION:4.0", "FN:Анна", 'TEL;VALUE=uri;TYPE="voice,cell":tel:+79990001122'),
        card("VERSION:3.0", "FN:Ан", " на", "TEL:+7999", " 0001122"),
        card("version:3.0", "fn:Анна", "tel:+79990001122"),
        card(
            "VERSION:2.1",
            "FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=D0=90=D0=BD=D0=BD=D0=B0",
            "TEL;CELL:+79990001122",
        ),
        card(
            "VERSION:2.1",
            "N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:;=D0=90=",
            "=D0=BD=D0=BD=D0=B0;;;",
            "TEL;CELL:+79990001122",
        ),
        card(
            "VERSION:2.1",
            "FN;ENCODING=QUOTED-PRINTABLE;CHARSET=windows-1251:=C0=ED=ED=E0",
            "TEL:+79990001122",
        ),
        "\ufeff" + card("FN:Анна", "TEL:+79990001122", "TEL:+79990001122"),
    ],
    ids=str,
)
def test_a_contact_is_read_from_every_version(vcard: str) -> None:
    for fields in ({"body": vcard}, {"vcard": vcard}, {"vcardList": [{"vcard": vcard}]}):
        assert parse_vcards(fields) == [ANNA]


def test_names_keep_their_escaped_characters() -> None:
    assert parse_vcards({"vcard": card("FN:Smith\\, John\\; Jr", "TEL:1")})[0]["name"] == (
        "Smith, John; Jr"
    )
    assert parse_vcards({"vcard": card("N:Smith;John;Q", "TEL:1")})[0]["name"] == "John Q Smith"


def test_several_contacts_are_read_from_one_text_and_from_a_list() -> None:
    text = card("FN:A", "TEL:1") + "\n" + card("FN:B", "TEL:2")
    assert [each["name"] for each in parse_vcards({"body": text})] == ["A", "B"]
    contacts = [{"displayName": "A", "vcard": card("TEL:1")}, {"vcard": card("FN:B", "TEL:2")}]
    assert [each["name"] for each in parse_vcards({"contacts": contacts})] == ["A", "B"]


def test_a_contact_of_meta_is_an_object() -> None:
    contact = {"name": {"formatted_name": "Анна"}, "phones": [{"phone": "+79990001122"}, {}]}
    assert parse_vcards({"contacts": [contact, {"profile": {"name": "the sender"}}]}) == [ANNA]


@given(st.lists(st.text(max_size=20) | st.sampled_from(["FN:", "TEL;X:", ";", "=", ":"])))
def test_any_vcard_is_read_without_an_error(lines: list[str]) -> None:
    contacts: list[dict[str, Any]] = parse_vcards({"body": card(*lines)})
    assert all(isinstance(each["name"], str) for each in contacts)


@pytest.mark.parametrize("char", ' \n\t\r=;:"\\,.-aM\u3000')
def test_a_long_run_of_a_character_is_read_quickly(char: str) -> None:
    """A stranger writes the card, and meanwhile no other event is read."""
    began = time.thread_time()
    parse_vcards({"vcard": f"BEGIN:VCARD\nFN:A{char * 65_000}"})
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    "line",
    [
        "A" + ';""' * 20_000 + ';":"y:x',
        "A" + ';"' * 30_000 + '":"y:x',
        "FN;CHARSET=PUNYCODE;QUOTED-PRINTABLE:" + "1" * 65_000,
        "FN;CHARSET=IDNA;QUOTED-PRINTABLE:" + "a." * 32_000,
        "FN;QUOTED-PRINTABLE:" + "a=\n" * 20_000,
        "FN:" + "END:VCARD " * 6_500,
    ],
    ids=range(6),
)
def test_a_hostile_line_is_read_quickly(line: str) -> None:
    """Quotes that close and open again, and codecs that are slow."""
    began = time.thread_time()
    parse_vcards({"vcard": f"BEGIN:VCARD\n{line}"})
    assert time.thread_time() - began < 1


def test_whitespace_around_cards_is_no_part_of_them() -> None:
    text = " \n\t".join(["", card("FN:A", "TEL:1"), card("FN:B", "TEL:2"), ""])
    found = parse_vcards({"body": text})
    assert found == [{"name": "A", "phones": ["1"]}, {"name": "B", "phones": ["2"]}]

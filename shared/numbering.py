"""Numbering plans that changed: the same line under its old and its new number.

A person keeps the phone, and WhatsApp the account, when a country lengthens its numbers: the
address book has one spelling, the account's id the other. `CHANGES` is the table of these
countries; the migrations fill `wpp.numbering_changes` with it (tests compare the two), so that SQL
finds the contacts that Python's `find_twins` means.

The two spellings of a line are free for no other line. Ranges where that is not certain, for
example landlines of Brazil, are left out: their numbers stay as they are.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class NumberingChange:
    """Numbers `old` + rest became `new` + rest, where `rest` matches the whole rest.

    `rest` is a regular expression that Python and Postgres read in the same way.
    """

    region: str
    old: str
    new: str
    rest: str


SOURCES = {
    "AR": "ITU: National numbering plan of Argentina; abroad dials 54 9 before a mobile number",
    "BJ": "ARCEP Bénin, 30 Nov 2024: 01 before the eight digits",
    "BR": "ANATEL, Resolution 553 of 2010, 2012 to 2016: 9 before mobile numbers with 6 to 9",
    "CI": "ARTCI, 31 Jan 2021: the operator's 01, 05, 07 before mobiles, 27 before Orange's lines",
    "CM": "ART Cameroun, 21 Nov 2014: 6 before mobile numbers, 2 before landlines",
    "CO": "CRC, Resolution 5826 of 2019, 1 Sep 2021: 60 before the area code of landlines",
    "MX": "IFT, 3 Aug 2019: no 1 after 52 any more; WhatsApp keeps it for older accounts",
    "VN": "MIC, Decision 798 of 2018, 15 Sep 2018: eleven digits became ten",
}
"""Who decided each change, and when. The ranges agree with libphonenumber's metadata."""

_BRAZIL_AREAS = (
    "11 12 13 14 15 16 17 18 19 21 22 24 27 28 31 32 33 34 35 37 38 41 42 43 44 45 46 47 48 49 "
    "51 53 54 55 61 62 63 64 65 66 67 68 69 71 73 74 75 77 79 81 82 83 84 85 86 87 88 89 "
    "91 92 93 94 95 96 97 98 99"
)
_COLOMBIA_AREAS = "1 2 4 5 6 7 8"
_VIETNAM_PREFIXES = (
    "120:70 121:79 122:77 123:83 124:84 125:85 126:76 127:81 128:78 129:82 162:32 163:33 "
    "164:34 165:35 166:36 167:37 168:38 169:39 186:56 188:58 199:59"
)
_ORANGE_LANDLINES = r"(2(0[23]|1[2357]|2[245]|3[45]|4[3-5])|3(06|1[69]|[2-6]7))[0-9]{5}"

CHANGES = (
    NumberingChange("AR", "54", "549", "[1-3][0-9]{9}"),
    NumberingChange("BJ", "229", "22901", "[0-9]{8}"),
    *(
        NumberingChange("BR", f"55{area}", f"55{area}9", "[6-9][0-9]{7}")
        for area in _BRAZIL_AREAS.split()
    ),
    NumberingChange("CI", "225", "22501", "[04-9][0-3][0-9]{6}"),
    NumberingChange("CI", "225", "22505", "[04-9][4-6][0-9]{6}"),
    NumberingChange("CI", "225", "22507", "[04-9][7-9][0-9]{6}"),
    NumberingChange("CI", "225", "22527", _ORANGE_LANDLINES),
    NumberingChange("CM", "237", "2376", "[5-9][0-9]{7}"),
    NumberingChange("CM", "237", "2372", "[23][0-9]{7}"),
    *(
        NumberingChange("CO", f"57{area}", f"5760{area}", "[2-9][0-9]{6}")
        for area in _COLOMBIA_AREAS.split()
    ),
    NumberingChange("MX", "521", "52", "[2-9][0-9]{9}"),
    *(
        NumberingChange("VN", f"84{old}", f"84{new}", "[0-9]{7}")
        for old, _, new in (pair.partition(":") for pair in _VIETNAM_PREFIXES.split())
    ),
)

FORMER_TRUNK_PREFIXES = {
    "MX": ("01", "044", "045"),
    "UA": ("80",),
    **dict.fromkeys(("AM", "AZ", "EE", "GE", "KG", "LV", "MD", "TJ", "UZ"), ("8",)),
}
"""What people of a region still write before national numbers, beside today's trunk prefix.

IFT abolished Mexico's with the 1. The 8 is that of the Soviet Union; Ukraine has 0 after it.
"""


def find_twins(phone: str) -> tuple[str, ...]:
    """Return the numbers of the line that has `phone`, which comes first (digits, no plus)."""
    return tuple(dict.fromkeys((phone, *_change_prefix(phone))))


def is_same_line(phone: str, other: str) -> bool:
    """Return whether two numbers are of the same line."""
    return other in find_twins(phone)


def has_changed(phone: str) -> bool:
    """Return whether the numbering plan gave the line of `phone` another number."""
    return len(find_twins(phone)) > 1


def _change_prefix(phone: str) -> Iterator[str]:
    for prefix, other, rest in _rules_by_country().get(phone[:2], ()):
        if phone.startswith(prefix) and rest.fullmatch(phone, len(prefix)):
            yield other + phone[len(prefix) :]


@cache
def _rules_by_country() -> dict[str, list[tuple[str, str, re.Pattern[str]]]]:
    """Return prefix, other prefix and rest, in both directions, by the first two digits."""
    rules: dict[str, list[tuple[str, str, re.Pattern[str]]]] = {}
    for change in CHANGES:
        rest = re.compile(change.rest)
        for prefix, other in ((change.old, change.new), (change.new, change.old)):
            rules.setdefault(prefix[:2], []).append((prefix, other, rest))
    return rules

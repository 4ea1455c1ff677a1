"""Phone numbers in a single form: international digits without a plus, as the platform expects.

`normalize` reads numbers written by people and services, `read_platform_address` reads
WhatsApp addresses from the platform.
"""

import re

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from shared.numbering import has_changed

DEFAULT_REGION = "RU"

E164_DIGITS = re.compile(r"[1-9][0-9]{6,14}")
"""E.164 without the plus: the shortest numbers in use have 7 digits, the longest have 15."""

PERSON_SERVERS = ("c.us", "s.whatsapp.net")
"""WhatsApp's servers for people: an address is phone@server."""
_DIALABLE = re.compile(r"[0-9\s().\-/\u2010-\u2015]{6,32}")
"""A number in its national form, without a plus."""
_UNREACHABLE = {
    "g.us": "groups",
    "broadcast": "broadcast lists",
    "newsletter": "channels",
    "lid": "people whose phone is hidden (@lid)",
    "hosted.lid": "people whose phone is hidden (@lid)",
}
"""Servers of WhatsApp's addresses that no call of the platform is known to take."""
_CODE_7_REGIONS = ("RU", "KZ")
_MOBILE_7 = re.compile(r"\+?79[0-9]{9}")
"""Mobile numbers of country code 7: most that are written here need no look at numbering plans."""


def normalize(raw: str, region: str = DEFAULT_REGION) -> str:
    """Return `raw` as digits with the country code: "8 (999) 000-11-22" in RU is "79990001122".

    A plus, a leading 00 or the platform's suffix ("79990001122@c.us") means that the country code
    is present. Otherwise `raw` is read as a number of `region` (ISO 3166, two letters), then as an
    international number that lacks its plus ("380501234567").

    Raises:
        ValueError: `raw` is not a phone number; the message is fit for an API caller.
    """
    if _MOBILE_7.fullmatch(raw) and (raw[0] == "+" or region in _CODE_7_REGIONS):
        return raw.removeprefix("+")
    text = re.sub(r"^\s*00(?=[1-9])", "+", raw).strip()
    if "@" in text:
        phone = read_platform_address(text)
    elif text.startswith("+"):
        phone = _parse_international(text)
    else:
        phone = (
            _normalize_code_7(text, region)
            or _parse_national(text, region)
            or _parse_without_plus(text)
        )
    if phone and E164_DIGITS.fullmatch(phone):
        return phone
    masked = mask_phone(raw)
    msg = f"not a phone number: {masked!r}; write it with its country code, such as +79990001122"
    raise ValueError(msg)


def may_be_phone(raw: str) -> bool:
    """Return whether `raw` is a national phone number of some region."""
    return bool(_DIALABLE.fullmatch(raw)) and 6 <= sum(char.isdigit() for char in raw) <= 15


def refuse_address(raw: str) -> str | None:
    """Return why an address of WhatsApp that names no person cannot be written to, else None."""
    server = raw.strip().rpartition("@")[2].lower()
    what = _UNREACHABLE.get(server) if "@" in raw else None
    if what is None:
        return None
    return f"{what} cannot be written to through this platform; give a phone number"


def read_platform_address(raw: str) -> str | None:
    """Return the phone in a WhatsApp address; None for a group, a list, a hidden or invalid number.

    The digits are international: "84912345678@c.us" is a number of Vietnam, although an 11-digit
    number that begins with 8 is a national number in RU. They are the account's id, so they are
    returned unchanged even if the numbering plan has changed.
    """
    user, _, server = raw.strip().partition("@")
    digits = user.split(":")[0].removeprefix("+")  # :12 is a device of the account
    if server not in ("", *PERSON_SERVERS) or not E164_DIGITS.fullmatch(digits):
        return None
    if 9 <= len(digits) <= 13:
        known = any(int(digits[:length]) in COUNTRY_CODE_TO_REGION_CODE for length in (1, 2, 3))
    else:  # numbers of this length exist in few countries; most are hidden ids
        number = _parse(f"+{digits}")
        known = number is not None and phonenumbers.is_possible_number(number)
    return digits if known else None


def mask_phone(phone: str) -> str:
    """Return `phone` with its middle hidden, to be recognized in a log and not to be called."""
    return f"{phone[:3]}…{phone[-2:]}" if len(phone) > 6 else "…"


def _normalize_code_7(text: str, region: str) -> str | None:
    """Read a number as written in Russia and Kazakhstan, with country code 7.

    A leading 8 stands for the 7, and a mobile number (9…) may be written without it.
    """
    if region not in _CODE_7_REGIONS or re.search(r"[^\d\s().\-\u2010-\u2015]", text):
        return None
    digits = re.sub(r"[^0-9]", "", text)
    if len(digits) == 11 and digits[0] == "8":
        return f"7{digits[1:]}"
    return f"7{digits}" if len(digits) == 10 and digits[0] == "9" else None


def _parse_national(text: str, region: str) -> str | None:
    number = _parse(text, region)
    return _format_e164(number) if number and phonenumbers.is_valid_number(number) else None


def _parse_without_plus(text: str) -> str | None:
    """Read an international number that lacks its plus.

    A number of less than 11 digits must be valid: seven local digits are a possible number of some
    country.
    """
    number = _parse(f"+{text}")
    if number and not phonenumbers.is_valid_number(number) and len(_format_e164(number)) < 11:
        return None
    return _parse_international(f"+{text}")


def _parse_international(text: str) -> str | None:
    number = _parse(text)
    if number is None:
        return None
    digits = _format_e164(number)
    # WhatsApp ids may predate a numbering plan.
    return digits if phonenumbers.is_possible_number(number) or has_changed(digits) else None


def _parse(text: str, region: str | None = None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None


def _format_e164(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).removeprefix("+")

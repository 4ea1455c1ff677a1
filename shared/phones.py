"""Phone numbers in one spelling: international digits, no plus, as the platform takes them.

`normalize` reads what people and other services write, `from_platform` what the platform says.
"""

import re

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

DEFAULT_REGION = "RU"

E164_DIGITS = re.compile(r"[1-9][0-9]{6,14}")
"""E.164 without the plus: the shortest numbers in use have 7 digits, the longest 15."""

PERSON_SERVERS = ("c.us", "s.whatsapp.net")
"""WhatsApp's servers of people: an address is phone@server."""
_DIALABLE = re.compile(r"[0-9\s().\-/\u2010-\u2015]{6,32}")
"""What people dial at home: without a plus."""
_CODE_7_REGIONS = ("RU", "KZ")
_LEGACY_NUMBERS = re.compile(r"521[0-9]{10}|229[0-9]{8}")
"""Mexico dropped its 1 and Benin went to ten digits, but the ids of accounts opened before that stayed."""


def normalize(raw: str, region: str = DEFAULT_REGION) -> str:
    """Return `raw` as digits with the country code: "8 (999) 000-11-22" in RU is "79990001122".

    A plus, a leading 00 or the platform's suffix ("79990001122@c.us") says that the country code is there. Without
    them `raw` is a number of `region` (ISO 3166, two letters) if it can be one, else an international number that
    lacks its plus ("380501234567").

    Raises:
        ValueError: it is no phone number, said in words a caller can act on.
    """
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
    msg = f"not a phone number: {mask_phone(raw)!r}; write it with its country code, such as +79990001122"
    raise ValueError(msg)


def may_be_phone(raw: str) -> bool:
    """Return whether `raw` may be a phone somewhere: which one it is, only a region tells."""
    return bool(_DIALABLE.fullmatch(raw)) and 6 <= sum(each.isdigit() for each in raw) <= 15


def read_platform_address(raw: str) -> str | None:
    """Return the phone in an address of the platform, or None: a group, a list, a hidden number, no number at all.

    Its digits are international already: "84912345678@c.us" is Vietnam, though in RU an 11-digit number with an 8
    is a domestic one. They are kept as they are, because they are the account's id, whatever today's plan says.
    """
    user, _, server = raw.strip().partition("@")
    digits = user.split(":")[0].removeprefix("+")  # :12 is one of the account's devices
    if server not in ("", *PERSON_SERVERS) or not E164_DIGITS.fullmatch(digits):
        return None
    if 9 <= len(digits) <= 13:
        known = any(int(digits[:length]) in COUNTRY_CODE_TO_REGION_CODE for length in (1, 2, 3))
    else:  # so few or so many are a number in some countries only, and more often somebody's hidden id
        number = _parse(f"+{digits}")
        known = number is not None and phonenumbers.is_possible_number(number)
    return digits if known else None


def mask_phone(phone: str) -> str:
    """Return `phone` fit for a log line: enough to recognise, not enough to call."""
    return f"{phone[:3]}…{phone[-2:]}" if len(phone) > 6 else "…"


def _normalize_code_7(text: str, region: str) -> str | None:
    """Apply the rules of Russian and Kazakh habit: a leading 8 stands for 7, and a mobile number may lack both."""
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
    """Return an international number. A short one must be valid: seven local digits would fit in some country too."""
    number = _parse(f"+{text}")
    if number and not phonenumbers.is_valid_number(number) and len(_format_e164(number)) < 11:
        return None
    return _parse_international(f"+{text}")


def _parse_international(text: str) -> str | None:
    number = _parse(text)
    if number is None:
        return None
    digits = _format_e164(number)
    return (
        digits
        if phonenumbers.is_possible_number(number) or _LEGACY_NUMBERS.fullmatch(digits)
        else None
    )


def _parse(text: str, region: str | None = None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None


def _format_e164(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).removeprefix("+")

"""Phone numbers in one spelling: international digits, no plus, as the platform takes them."""

import re

import phonenumbers

DEFAULT_REGION = "RU"


def normalize(raw: str, region: str = DEFAULT_REGION) -> str:
    """Return `raw` as digits with the country code: "8 (999) 000-11-22" in RU is "79990001122".

    A number that already carries a country code may come without its plus, as the platform writes it
    ("380501234567", "79990001122@c.us").

    Raises:
        ValueError: it is no phone number, said in words a caller can act on.
    """
    text = re.sub(r"@(c\.us|s\.whatsapp\.net)$", "", raw.strip())
    digits = re.sub(r"\D", "", text)
    candidates = [f"+{digits}"] if text.startswith("+") else [text, f"+{digits}"]
    for candidate in candidates:
        try:
            number = phonenumbers.parse(candidate, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_possible_number(number) and (
            phonenumbers.is_valid_number(number) or candidate == candidates[-1]
        ):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).lstrip("+")
    msg = f"not a phone number: {mask(raw)!r}; write it with its country code, such as +79990001122"
    raise ValueError(msg)


def mask(phone: str) -> str:
    """Return `phone` fit for a log line: enough to recognise, not enough to call."""
    return f"{phone[:3]}…{phone[-2:]}" if len(phone) > 6 else "…"

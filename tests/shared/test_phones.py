"""Phone numbers are normalized to international digits, or refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.phones import E164_DIGITS, mask_phone, may_be_phone, normalize, read_platform_address

FULL_WIDTH = "\uff18\uff19\uff19\uff19\uff10\uff10\uff10\uff11\uff11\uff12\uff12"
SPELLINGS = [
    ("8 (999) 000-11-22", "RU", "79990001122"),
    ("+7 (999) 000-11-22", "RU", "79990001122"),
    ("8\u2013999\u2013000\u201311\u201322", "RU", "79990001122"),
    ("+7 999 000-11-22 доб. 5", "RU", "79990001122"),
    (FULL_WIDTH, "RU", "79990001122"),
    ("79990001122@c.us", "RU", "79990001122"),
    ("4951234567", "RU", "74951234567"),  # a landline
    ("8-800-555-35-35", "RU", "78005553535"),
    ("7012345678", "KZ", "77012345678"),
    ("87012345678", "KZ", "77012345678"),
    ("380501234567", "RU", "380501234567"),  # with country code, without plus
    ("00380501234567", "RU", "380501234567"),
    ("8 10 380 50 123 45 67", "RU", "380501234567"),  # as dialed from Russia
    ("0501234567", "UA", "380501234567"),
    ("5511987654321", "RU", "5511987654321"),
    ("551198765432", "BR", "551198765432"),  # an id without Brazil's ninth digit
    ("11987654321", "BR", "5511987654321"),
    ("1133334444", "BR", "551133334444"),
    ("+84912345678", "RU", "84912345678"),
    ("5215512345678", "RU", "5215512345678"),  # an id from before Mexico's new plan
    ("12025550123", "RU", "12025550123"),
    ("0912 345 678", "VN", "84912345678"),
    ("0151 23456789", "DE", "4915123456789"),
    ("030/123456", "DE", "4930123456"),
    ("8 999 000-11-22", "KZ", "79990001122"),
]


@pytest.mark.parametrize(("written", "region", "phone"), SPELLINGS)
def test_every_usual_form_becomes_the_same_digits(written: str, region: str, phone: str) -> None:
    """Spaces, brackets, dashes, national prefixes and missing country codes are handled."""
    assert normalize(written, region) == phone


@pytest.mark.parametrize("written", ["9812345678", "9980001122", "9961112233"])
def test_pain_18_ten_russian_digits_never_go_to_another_country(written: str) -> None:
    """Ten digits with a 9 are a Russian mobile number, although 98 is Iran and 996 Kyrgyzstan."""
    assert normalize(written) == f"7{written}"


@pytest.mark.parametrize(
    "written",
    [
        "",
        "+",
        "abc",
        "112",
        "+7 999",
        "4951234",
        "7999000112",
        "799900011223",
        "0501234567",
        "89990001122 мама",
        "120363012345678901@g.us",
        "123456789012345@lid",
        "status@broadcast",
        "89990001122, 89990001133",
    ],
)
def test_other_text_is_refused_without_quoting_it(written: str) -> None:
    """The message may be logged, so the text is masked in it."""
    with pytest.raises(ValueError, match="not a phone number") as caught:
        normalize(written)
    assert len(written) < 7 or written not in str(caught.value).partition(";")[0]


@pytest.mark.parametrize(
    "written", [written for written, _, _ in SPELLINGS if written.isascii() and "@" not in written]
)
def test_a_phone_of_any_region_may_be_a_phone(written: str) -> None:
    """The API validates a recipient before it knows the region."""
    assert may_be_phone(written) or normalize(written)


@pytest.mark.parametrize(
    "written", ["", "12345", "12ab", "+0912345678", "1" * 16, "a phone", "()()()()"]
)
def test_a_phone_of_no_region_is_not(written: str) -> None:
    """Too short, too long, or with letters."""
    assert not may_be_phone(written)


def test_an_unknown_region_accepts_international_numbers_only() -> None:
    """A national number needs a known region."""
    assert normalize("+79990001122", "XX") == "79990001122"
    with pytest.raises(ValueError, match="country code"):
        normalize("9990001122", "XX")


@settings(deadline=None)
@given(st.text(max_size=30), st.sampled_from(["RU", "KZ", "BR", "MX", "US", "XX"]))
def test_any_text_is_a_phone_or_a_value_error(text: str, region: str) -> None:
    """`normalize` raises no further error."""
    try:
        phone = normalize(text, region)
    except ValueError:
        return
    assert E164_DIGITS.fullmatch(phone)


@settings(deadline=None)
@given(st.from_regex(r"\A79[0-9]{9}\Z"))
def test_normalizing_twice_changes_nothing(phone: str) -> None:
    """`normalize` is idempotent."""
    assert normalize(phone) == normalize(normalize(phone)) == phone


@pytest.mark.parametrize(
    ("address", "phone"),
    [
        ("+79990001122", "79990001122"),
        ("79990001122@c.us", "79990001122"),
        ("79990001122:12@s.whatsapp.net", "79990001122"),
        ("84912345678@c.us", "84912345678"),  # Vietnam, not Ryazan
        ("22997000000@c.us", "22997000000"),  # an account older than Benin's new plan
        ("628123456789012", "628123456789012"),
    ],
)
def test_the_digits_of_an_address_are_unchanged(address: str, phone: str) -> None:
    """They are an id, even if the numbering plan has changed."""
    assert read_platform_address(address) == phone


@pytest.mark.parametrize(
    "address",
    [
        "120363012345678901@g.us",
        "79990001122-1500000000@g.us",
        "79990001122-1500000000",
        "123456789012345@lid",
        "123456789012345",
        "status@broadcast",
        "1500000000@broadcast",
        "0@c.us",
        "7999",
        "",
        "@c.us",
        "999123456789",
    ],
)
def test_pain_43_groups_lists_and_hidden_numbers_are_no_phones(address: str) -> None:
    """Their ids have as many digits as phone numbers."""
    assert read_platform_address(address) is None


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_address_is_a_phone_or_none(address: str) -> None:
    """`read_platform_address` never raises."""
    phone = read_platform_address(address)
    assert phone is None or E164_DIGITS.fullmatch(phone)


def test_a_masked_phone_can_be_recognized_and_not_called() -> None:
    """The first three and the last two digits are shown."""
    assert mask_phone("79990001122") == "799…22"
    assert mask_phone("799900") == "…"


@pytest.mark.parametrize("region", ["RU", "KZ", "DE", "US"])
@pytest.mark.parametrize("digits", ["79990001122", "79000000000", "79119119119", "79876543210"])
def test_the_short_way_agrees_with_the_numbering_plans(digits: str, region: str) -> None:
    """A blank takes the long way."""
    assert normalize(f"+{digits}", region) == normalize(f"+7 {digits[1:]}", region) == digits
    if region in {"RU", "KZ"}:
        assert normalize(digits, region) == normalize(f" {digits} ", region) == digits

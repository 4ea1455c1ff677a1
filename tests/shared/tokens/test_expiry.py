"""Lifetimes of tokens."""

import math
import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.tokens.expiry import (
    DEFAULT_LIFETIME_S,
    MAX_LIFETIME_S,
    compute_lifetime_s,
    read_claims,
    read_expiry_s,
    read_full_lifetime_s,
)

NOW = 1_790_000_000


def encode_jwt(**claims: object) -> str:
    return jwt.encode(claims, "k" * 32)


@pytest.mark.parametrize("expires_in", [None, 3600, "nonsense"])
def test_the_claims_of_the_token_come_first(expires_in: object) -> None:
    """`exp` minus `iat`, less the second of their rounding, for any `expires_in` of the answer."""
    assert compute_lifetime_s(encode_jwt(iat=NOW, exp=NOW + 900), expires_in=expires_in) == 899


@pytest.mark.parametrize("wrong_by_s", [-86_400, -30, 30, 86_400])
def test_different_clocks_do_not_matter(wrong_by_s: float) -> None:
    """The local clock is unused; the platform's clock may differ by a day."""
    platform = time.time() + wrong_by_s
    token = encode_jwt(iat=int(platform), exp=int(platform) + 900)
    assert (
        compute_lifetime_s(token) == compute_lifetime_s(token, platform_now_s=int(platform)) == 899
    )


def test_a_token_issued_earlier_has_less_left() -> None:
    """When the platform reuses a token, the Date header shows its age."""
    assert compute_lifetime_s(encode_jwt(iat=NOW, exp=NOW + 900), platform_now_s=NOW + 600) == 299


def test_a_wrong_date_header_is_ignored() -> None:
    """A Date before `iat` adds nothing; a Date after `exp` is replaced by `iat`."""
    token = encode_jwt(iat=NOW, exp=NOW + 900)
    assert (
        compute_lifetime_s(token, platform_now_s=NOW - 5000)
        == compute_lifetime_s(token, platform_now_s=NOW + 5000)
        == 899
    )


def test_timestamps_in_milliseconds_are_read() -> None:
    assert compute_lifetime_s(encode_jwt(iat=NOW * 1000, exp=(NOW + 900) * 1000)) == 899
    assert read_expiry_s(encode_jwt(exp=NOW * 1000)) == NOW


@pytest.mark.parametrize(
    ("expires_in", "expected"), [(None, 899), (600, 599), ("nonsense", 899), (3600, 899)]
)
def test_exp_alone_counts_from_the_local_clock(expires_in: object, expected: float) -> None:
    """Without `iat` and Date, `expires_in` limits the result of a wrong local clock."""
    token = encode_jwt(exp=time.time() + 900)
    assert compute_lifetime_s(token, expires_in=expires_in) == pytest.approx(expected, abs=1)


def test_an_exp_in_the_past_falls_back_to_expires_in() -> None:
    token = encode_jwt(exp=time.time() - 5)
    assert compute_lifetime_s(token, expires_in=600) == 600
    assert compute_lifetime_s(token) == DEFAULT_LIFETIME_S


def test_the_full_lifetime_needs_iat_and_exp() -> None:
    assert read_full_lifetime_s(encode_jwt(iat=NOW, exp=NOW + 900)) == 900
    assert read_full_lifetime_s(encode_jwt(iat=NOW, exp=NOW + 10**9)) == MAX_LIFETIME_S
    assert [
        read_full_lifetime_s(token)
        for token in (
            "opaque",
            encode_jwt(exp=NOW),
            encode_jwt(iat=NOW),
            encode_jwt(iat=NOW, exp=NOW - 1),
        )
    ] == [None] * 4


@pytest.mark.parametrize(
    ("expires_in", "expected"),
    [(600, 600), ("600", 600), (" 600.5 ", 600.5), (10**9, MAX_LIFETIME_S)],
)
def test_expires_in_counts_without_an_exp(expires_in: object, expected: float) -> None:
    """As a number of seconds, or as text."""
    assert compute_lifetime_s("opaque", expires_in=expires_in) == expected


@pytest.mark.parametrize(
    "expires_in", [None, "", "soon", "-5", 0, -1, True, math.nan, math.inf, [], {}, "9" * 400]
)
def test_the_default_is_15_minutes(expires_in: object) -> None:
    assert compute_lifetime_s("opaque", expires_in=expires_in) == DEFAULT_LIFETIME_S == 900


@given(st.text() | st.builds(lambda body: f"a.{body}.c", st.text(alphabet="ABCxyz019-_=")))
def test_any_text_has_a_lifetime(token: str) -> None:
    """A text that is not a JWT has no claims."""
    assert isinstance(read_claims(token), dict)
    assert 0 < compute_lifetime_s(token, expires_in=token) <= MAX_LIFETIME_S


@given(
    st.dictionaries(
        st.sampled_from(["exp", "iat"]), st.floats() | st.integers() | st.text() | st.none()
    )
)
def test_any_claims_give_a_lifetime(fields: dict[str, object]) -> None:
    """Claims of any type give a lifetime within the limits."""
    assert 0 < compute_lifetime_s(encode_jwt(**fields), platform_now_s=NOW) <= MAX_LIFETIME_S

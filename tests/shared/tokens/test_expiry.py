"""How long a token lives."""

import base64
import json
import math
import time

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


def jwt(**fields: object) -> str:
    parts = (json.dumps({"alg": "HS256"}), json.dumps(fields), "signature")
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


@pytest.mark.parametrize("expires_in", [None, 3600, "nonsense"])
def test_the_tokens_own_word_counts_first(expires_in: object) -> None:
    """`exp` seen from `iat`, whatever else the answer claims; a second less, for both are cut to whole seconds."""
    assert compute_lifetime_s(jwt(iat=NOW, exp=NOW + 900), expires_in=expires_in) == 899


@pytest.mark.parametrize("wrong_by_s", [-86_400, -30, 30, 86_400])
def test_clocks_that_differ_do_no_harm(wrong_by_s: float) -> None:
    """Our clock is not asked at all: the platform's may be a day away from it."""
    platform = time.time() + wrong_by_s
    token = jwt(iat=int(platform), exp=int(platform) + 900)
    assert (
        compute_lifetime_s(token) == compute_lifetime_s(token, platform_now_s=int(platform)) == 899
    )


def test_a_token_that_was_issued_earlier_has_less_left() -> None:
    """A platform that hands out the same token again: its Date tells how much of it is gone."""
    assert compute_lifetime_s(jwt(iat=NOW, exp=NOW + 900), platform_now_s=NOW + 600) == 299


def test_a_date_that_is_wrong_is_not_believed() -> None:
    """A proxy's clock before `iat` adds nothing; one after `exp` leaves it to `iat`."""
    token = jwt(iat=NOW, exp=NOW + 900)
    assert (
        compute_lifetime_s(token, platform_now_s=NOW - 5000)
        == compute_lifetime_s(token, platform_now_s=NOW + 5000)
        == 899
    )


def test_milliseconds_are_understood() -> None:
    assert compute_lifetime_s(jwt(iat=NOW * 1000, exp=(NOW + 900) * 1000)) == 899
    assert read_expiry_s(jwt(exp=NOW * 1000)) == NOW


@pytest.mark.parametrize(
    ("expires_in", "expected"), [(None, 899), (600, 599), ("nonsense", 899), (3600, 899)]
)
def test_an_end_alone_is_seen_from_our_clock(expires_in: object, expected: float) -> None:
    """Neither `iat` nor a Date: `exp` still counts before `expires_in`, which bounds what a wrong clock would add."""
    token = jwt(exp=time.time() + 900)
    assert compute_lifetime_s(token, expires_in=expires_in) == pytest.approx(expected, abs=1)


def test_an_end_that_our_clock_has_passed_leaves_it_to_the_answer() -> None:
    token = jwt(exp=time.time() - 5)
    assert compute_lifetime_s(token, expires_in=600) == 600
    assert compute_lifetime_s(token) == DEFAULT_LIFETIME_S


def test_a_whole_life_is_known_where_both_ends_are() -> None:
    assert read_full_lifetime_s(jwt(iat=NOW, exp=NOW + 900)) == 900
    assert read_full_lifetime_s(jwt(iat=NOW, exp=NOW + 10**9)) == MAX_LIFETIME_S
    assert [
        read_full_lifetime_s(token)
        for token in ("opaque", jwt(exp=NOW), jwt(iat=NOW), jwt(iat=NOW, exp=NOW - 1))
    ] == [None] * 4


@pytest.mark.parametrize(
    ("expires_in", "expected"),
    [(600, 600), ("600", 600), (" 600.5 ", 600.5), (10**9, MAX_LIFETIME_S)],
)
def test_expires_in_counts_without_an_exp(expires_in: object, expected: float) -> None:
    """A number of seconds, or its text."""
    assert compute_lifetime_s("opaque", expires_in=expires_in) == expected


@pytest.mark.parametrize(
    "expires_in", [None, "", "soon", "-5", 0, -1, True, math.nan, math.inf, [], {}, "9" * 400]
)
def test_a_quarter_of_an_hour_when_nothing_is_said(expires_in: object) -> None:
    assert compute_lifetime_s("opaque", expires_in=expires_in) == DEFAULT_LIFETIME_S == 900


@given(st.text() | st.builds(lambda body: f"a.{body}.c", st.text(alphabet="ABCxyz019-_=")))
def test_any_text_is_survived(token: str) -> None:
    """What is no JWT has no claims, and lives as long as any token."""
    assert isinstance(read_claims(token), dict)
    assert 0 < compute_lifetime_s(token, expires_in=token) <= MAX_LIFETIME_S


@given(
    st.dictionaries(
        st.sampled_from(["exp", "iat"]), st.floats() | st.integers() | st.text() | st.none()
    )
)
def test_any_claims_are_survived(fields: dict[str, object]) -> None:
    """Strange claims give a life that a Redis can hold."""
    assert 0 < compute_lifetime_s(jwt(**fields), platform_now_s=NOW) <= MAX_LIFETIME_S

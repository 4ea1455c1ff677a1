"""When a token is refreshed, and how long it is usable."""

import pytest

from shared.tokens.policy import MIN_USABLE_S, RefreshPolicy


def test_a_full_lifetime() -> None:
    """A token of 15 min is usable for 14 min and refreshed after 9 to 11.25 min."""
    for _ in range(100):
        lifetime = RefreshPolicy().plan_lifetime(900, 900)
        assert (lifetime.left_s, lifetime.usable_s) == (900, 840)
        assert 540 < lifetime.fresh_s <= 675


@pytest.mark.parametrize(("full_s", "usable_s"), [(600, 540), (300, 270), (3, 2.7), (0, 0)])
def test_a_short_token_is_usable_while_a_tenth_is_left(full_s: float, usable_s: float) -> None:
    """With a fixed margin a token of a minute would never be usable, and every call would mint."""
    lifetime = RefreshPolicy().plan_lifetime(full_s, full_s)
    assert lifetime.usable_s == pytest.approx(usable_s)
    assert lifetime.fresh_s <= lifetime.usable_s


@pytest.mark.parametrize("left_s", [300, 100, 75])
def test_an_older_token_has_the_margin_of_its_full_lifetime(left_s: float) -> None:
    """The last minute of 15 is unusable, and a refresh is due in the last 4 to 6 min."""
    lifetime = RefreshPolicy().plan_lifetime(left_s, 900)
    assert lifetime.usable_s == max(left_s - 60, MIN_USABLE_S)
    assert lifetime.fresh_s <= max(0, left_s - 225)


@pytest.mark.parametrize("left_s", [60, 30, 20, 5])
def test_a_token_issued_in_its_last_minute_is_usable_for_a_moment(left_s: float) -> None:
    """The platform has no better token; a new request follows after half of its time."""
    assert RefreshPolicy().plan_lifetime(left_s, 900).usable_s == min(MIN_USABLE_S, left_s / 2)


def test_a_flight_ends_before_its_lease() -> None:
    """The timeouts of store and mint fit into the lease with a margin."""
    policy = RefreshPolicy()
    assert policy.store_timeout_s + policy.mint_timeout_s == policy.flight_s
    assert policy.lease_s == policy.flight_s + policy.lease_margin_s
    assert policy.lease_margin_s >= 1

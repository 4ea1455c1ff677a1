"""When a token is refreshed, and until when it counts."""

import pytest

from shared.tokens.policy import MIN_USABLE_S, RefreshPolicy


def test_a_usual_token() -> None:
    """15 minutes: it counts for 14, and is refreshed after 9 to 11 and a half."""
    for _ in range(100):
        life = RefreshPolicy().life(900, 900)
        assert (life.left_s, life.usable_s) == (900, 840)
        assert 540 < life.fresh_s <= 675


@pytest.mark.parametrize(("whole_s", "usable_s"), [(600, 540), (300, 270), (3, 2.7), (0, 0)])
def test_a_short_one_counts_while_a_tenth_is_left(whole_s: float, usable_s: float) -> None:
    """Else one that lives for a minute would never count, and every call would ask for another."""
    life = RefreshPolicy().life(whole_s, whole_s)
    assert life.usable_s == pytest.approx(usable_s)
    assert life.fresh_s <= life.usable_s


@pytest.mark.parametrize("left_s", [300, 100, 75])
def test_one_that_has_lived_already_keeps_its_whole_margin(left_s: float) -> None:
    """What it has left is no whole life: the last minute of 15 does not count, and a refresh is due in its last 6."""
    life = RefreshPolicy().life(left_s, 900)
    assert life.usable_s == max(left_s - 60, MIN_USABLE_S)
    assert life.fresh_s <= max(0, left_s - 225)


@pytest.mark.parametrize("left_s", [60, 30, 20, 5])
def test_one_handed_out_in_its_last_minute_counts_for_a_moment(left_s: float) -> None:
    """The platform has no better one: who is given it uses it, and asks again after half of what it had left."""
    assert RefreshPolicy().life(left_s, 900).usable_s == min(MIN_USABLE_S, left_s / 2)


def test_a_flight_ends_before_its_lease() -> None:
    """What it reads and what it asks fit into it, and some is to spare."""
    times = RefreshPolicy()
    assert times.store_s + times.mint_s == times.flight_s
    assert times.lease_s == times.flight_s + times.spare_s
    assert times.spare_s >= 1

"""When a token is refreshed, and until when it counts."""

import pytest

from shared.tokens.times import Times


def test_a_usual_token() -> None:
    """15 minutes: it counts for 14, and is refreshed after 9 to 11 and a half."""
    for _ in range(100):
        life = Times().life(900)
        assert (life.left_s, life.usable_s) == (900, 840)
        assert 540 < life.fresh_s <= 675


@pytest.mark.parametrize(("left_s", "usable_s"), [(600, 540), (300, 270), (3, 2.7), (0, 0)])
def test_a_short_one_counts_while_a_tenth_is_left(left_s: float, usable_s: float) -> None:
    """Else one that lives for a minute would never count, and every call would ask for another."""
    life = Times().life(left_s)
    assert life.usable_s == pytest.approx(usable_s)
    assert life.fresh_s <= life.usable_s


def test_a_stored_one_keeps_its_whole_margin() -> None:
    """What it has left is no whole life."""
    life = Times().life(100, margin_s=60)
    assert life.usable_s == 40
    assert life.fresh_s == 36


def test_a_mint_and_the_store_fit_into_the_lease() -> None:
    """The store may take two seconds, and some is to spare."""
    times = Times()
    assert times.mint_s + 2 < times.lease_s

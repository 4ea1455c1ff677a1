"""The spellings of a line under its old and its new number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.numbering import CHANGES, SOURCES, NumberingChange, find_twins, is_same_line

TWINS = [
    ("525512345601", "5215512345601"),
    ("541123456701", "5491123456701"),
    ("551187650010", "5511987650010"),
    ("22997000000", "2290197000000"),
    ("22507123456", "2250707123456"),
    ("22505123456", "2250505123456"),
    ("22501123456", "2250101123456"),
    ("22520212345", "2252720212345"),
    ("23777123456", "237677123456"),
    ("5712345678", "576012345678"),
    ("841201234567", "84701234567"),
]


@pytest.mark.parametrize(("old", "new"), TWINS)
def test_a_line_is_found_by_its_old_and_its_new_number(old: str, new: str) -> None:
    assert find_twins(old) == (old, new)
    assert find_twins(new) == (new, old)


@pytest.mark.parametrize(
    "phone",
    [
        "551133334444",  # a landline of São Paulo
        "5511933334444",  # a mobile number whose last eight digits are a landline
        "22520612345",  # a landline of Côte d'Ivoire that is not Orange's
        "2250520212345",  # a newer number: a landline had its last eight digits
        "79990001122",
        "4915123456789",
        "12025550123",
        "84912345678",
        "",
    ],
)
def test_a_number_that_did_not_change_has_no_twin(phone: str) -> None:
    """Two lines are never taken for the same."""
    assert find_twins(phone) == (phone,)


def test_each_country_names_its_source() -> None:
    assert {change.region for change in CHANGES} == set(SOURCES)


def changed_numbers() -> st.SearchStrategy[str]:
    """Return numbers of the changed plans, old and new."""

    def of(change: NumberingChange) -> st.SearchStrategy[str]:
        rest = st.from_regex(rf"\A{change.rest}\Z")
        return st.tuples(st.sampled_from([change.old, change.new]), rest).map("".join)

    return st.sampled_from(CHANGES).flatmap(of)


@given(changed_numbers())
def test_twins_are_twins_of_each_other(phone: str) -> None:
    twins = find_twins(phone)
    assert len(twins) == 2
    assert set(find_twins(twins[1])) == set(twins)
    assert is_same_line(*twins)

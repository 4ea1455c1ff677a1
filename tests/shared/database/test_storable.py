"""`storable` replaces what jsonb refuses and changes nothing else."""

import json
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.database.connection import storable

LETTERS = st.characters() | st.sampled_from(["\x00", "\ud800", "\udfff", "😀"])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0.5, float("nan"), float("inf")])
    | st.text(LETTERS),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(LETTERS), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("value", "mended"),
    [
        ({"text": "a\x00b"}, {"text": "a�b"}),
        (["\ud83d", {"\udc00": 1}], ["�", {"�": 1}]),
        ([float("nan"), float("inf"), -float("inf"), 1.5], [None, None, None, 1.5]),
        ("NaN", "NaN"),
    ],
)
def test_refused_values_are_replaced(value: Any, mended: Any) -> None:
    assert storable(value) == mended


@pytest.mark.parametrize(
    "value", ["😀 Привет", {"a": [1, None, True, "\\u0000"]}, [], "Infinity War"]
)
def test_accepted_values_are_unchanged(value: Any) -> None:
    assert storable(value) == value


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=JSON)
def test_postgres_accepts_every_replaced_value(database_url: str, value: Any) -> None:
    mended = storable(value)
    with psycopg.connect(database_url) as db:
        text = json.dumps(mended, allow_nan=False, ensure_ascii=False)
        ((kept,),) = db.execute("select %s::jsonb", (text,)).fetchall()
    assert kept == json.loads(json.dumps(mended))

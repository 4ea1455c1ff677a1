"""Samples show the form of a payload and none of its values."""

import re
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from workers.repair.samples import MAX_CHARACTERS, mask_values

PAYLOAD: dict[str, Any] = {
    "type": "poll.vote",
    "account": "0000000000042",
    "from": "+79990001122",
    "id": "true_79990001122@c.us_3EB0AA11",
    "ack": 3,
    "t": 1764410000,
    "fromMe": True,
    "note": None,
    "votes": ["Анна", "Ivan", "Olga", "Petr"],
    "79990001122@c.us": {"mimetype": "audio/ogg; codecs=opus", "text": "Call 8 999 000-11-22"},
}


def test_the_form_stays_and_the_values_go() -> None:
    assert mask_values(PAYLOAD) == {
        "type": "poll.vote",
        "account": "0000000000000",
        "from": "+00000000000",
        "id": "true_00000000000@c.us_0xx0xx00",
        "ack": 3,
        "t": 1000000000,
        "fromMe": True,
        "note": None,
        "votes": ["xxxx", "xxxx", "xxxx"],
        "00000000000@c.us": {
            "mimetype": "audio/ogg; codecs=opus",
            "text": "xxxx 0 000 000-00-00",
        },
    }


def test_a_long_text_is_cut() -> None:
    assert len(mask_values("y" * 10_000)) == MAX_CHARACTERS + 1


def list_shown(value: Any) -> Iterator[str]:
    """Yield each name and value as text: as JSON, a control character has digits of its own."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from list_shown(item)
    elif isinstance(value, list):
        for item in value:
            yield from list_shown(item)
    else:
        yield str(value)


@example("\x19123")
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_long_number_and_no_foreign_script_is_left(value: Any) -> None:
    shown = "\n".join(list_shown(mask_values({"value": value})))
    assert not re.search(r"[2-9][0-9]{3}", re.sub(r"e\+[0-9]+", "", shown))
    assert shown.replace("…", "").isascii()

"""The platform's words mean what the tables say, however they are spelled."""

import pytest

from shared.webhooks.vocabulary import (
    EVENT_TYPES,
    NOTICE_TYPES,
    STATUS_FIELD_TYPES,
    normalize_word,
    parse_status,
)


@pytest.mark.parametrize("word", ["MESSAGE_IN", "message-in", " message.in ", "Message In"])
def test_the_spelling_of_a_word_does_not_matter(word: str) -> None:
    assert EVENT_TYPES[normalize_word(word)] == "message"


def test_every_word_stands_in_the_tables_as_it_is_looked_up() -> None:
    assert all(
        normalize_word(word) == word for word in (*EVENT_TYPES, *NOTICE_TYPES, *STATUS_FIELD_TYPES)
    )


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        *(
            ("sent", "sent"),
            ("Delivered", "delivered"),
            ("READ", "read"),
            ("deleted", "deleted"),
            ("error", "failed"),
        ),
        *(
            (-1, "failed"),
            (0, "queued"),
            (1, "sent"),
            (2, "delivered"),
            (3, "read"),
            (4, "read"),
            ("3", "read"),
        ),
        *(
            ("teleported", None),
            (99, None),
            (True, None),
            (None, None),
            (2.5, None),
            ("", None),
            ([], None),
        ),
    ],
)
def test_a_status_is_a_word_or_the_number_of_an_ack(told: object, meant: str | None) -> None:
    assert parse_status(told) == meant

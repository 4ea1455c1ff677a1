"""The platform's words have the meaning of the tables in every spelling."""

import pytest

from shared.webhooks.calls import CALL_WORDS
from shared.webhooks.sessions import STATUS_FIELD_TYPES
from shared.webhooks.vocabulary import (
    CONTENT_TYPES,
    EVENT_TYPES,
    STATUSES,
    normalize_word,
    parse_status,
)


@pytest.mark.parametrize("word", ["MESSAGE_IN", "message-in", " message.in ", "Message In"])
def test_the_spelling_of_a_word_does_not_matter(word: str) -> None:
    assert EVENT_TYPES[normalize_word(word)] == "message"


def test_the_words_of_the_tables_are_normalized() -> None:
    assert all(
        normalize_word(word) == word
        for word in (*EVENT_TYPES, *CONTENT_TYPES, *STATUSES, *CALL_WORDS, *STATUS_FIELD_TYPES)
    )


@pytest.mark.parametrize(
    ("value", "status"),
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
def test_a_status_is_a_word_or_the_number_of_an_ack(value: object, status: str | None) -> None:
    assert parse_status(value) == status

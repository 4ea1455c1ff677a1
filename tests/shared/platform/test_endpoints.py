"""The table of endpoints and their variants."""

import pytest

from shared.errors import RefusedError
from shared.platform import endpoints
from shared.platform.endpoints import Endpoint, KnownVariants, resolve_variant

TABLE = [found for found in vars(endpoints).values() if isinstance(found, Endpoint)]


def test_only_sends_are_not_idempotent() -> None:
    """Only a send has a second effect when it is repeated."""
    assert {found.name for found in TABLE if not found.idempotent} == {
        "text",
        "image",
        "file",
        "location",
    }


def test_names_are_unique() -> None:
    """Known variants are stored by name."""
    assert len({found.name for found in TABLE}) == len(TABLE) == 15


def test_the_known_variant_comes_first_then_the_documented_one() -> None:
    known = KnownVariants()
    documented, older = endpoints.WEBHOOK.variants
    assert list(known.candidates(endpoints.WEBHOOK)) == [documented, older]
    known.remember(endpoints.WEBHOOK, older)
    assert list(known.candidates(endpoints.WEBHOOK)) == [older, documented]
    assert list(known.candidates(endpoints.STOP)) == list(endpoints.STOP.variants)


def test_parameters_are_encoded() -> None:
    """An id with a slash or an @ remains a single segment of the path."""
    method, path = resolve_variant(
        "GET /api/messages/media/{message_id}", {"message_id": "false_7@c.us/3EB0 ?#"}
    )
    assert (method, path) == ("GET", "/api/messages/media/false_7%40c.us%2F3EB0%20%3F%23")


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_parameter_that_would_change_the_path_is_refused(value: str) -> None:
    with pytest.raises(RefusedError, match="task_id"):
        resolve_variant("DELETE /api/messages/{task_id}", {"task_id": value})

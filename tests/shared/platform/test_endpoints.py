"""The table of routes."""

import pytest

from shared.errors import RefusedError
from shared.platform import endpoints
from shared.platform.endpoints import Endpoint, KnownVariants, resolve_variant

TABLE = [found for found in vars(endpoints).values() if isinstance(found, Endpoint)]


def test_only_sends_cannot_be_repeated() -> None:
    """A lost answer is a question of what happened only where a second call would do it twice."""
    assert {found.name for found in TABLE if not found.repeatable} == {
        "text",
        "image",
        "file",
        "location",
    }


def test_names_are_unique() -> None:
    """Routes are remembered by name."""
    assert len({found.name for found in TABLE}) == len(TABLE) == 14


def test_the_documented_form_is_tried_first_and_the_known_one_before_it() -> None:
    routes = KnownVariants()
    documented, older = endpoints.WEBHOOK.forms
    assert list(routes.forms(endpoints.WEBHOOK)) == [documented, older]
    routes.remember(endpoints.WEBHOOK, older)
    assert list(routes.forms(endpoints.WEBHOOK)) == [older, documented]
    assert list(routes.forms(endpoints.STOP)) == list(endpoints.STOP.forms)


def test_parameters_are_encoded() -> None:
    """An id with a slash or an @ stays one part of the path."""
    method, path = resolve_variant(
        "GET /api/messages/media/{message_id}", {"message_id": "false_7@c.us/3EB0 ?#"}
    )
    assert (method, path) == ("GET", "/api/messages/media/false_7%40c.us%2F3EB0%20%3F%23")


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_parameter_that_would_change_the_path_is_refused(value: str) -> None:
    with pytest.raises(RefusedError, match="task_id"):
        resolve_variant("DELETE /api/messages/{task_id}", {"task_id": value})

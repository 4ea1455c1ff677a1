"""Sending, deleting and reacting, against every answer that the platform was seen to give, and bad ones."""

from typing import Any

import httpx
import pytest

from shared.errors import (
    PlatformError,
    RefusedError,
    UnavailableError,
    UnknownEffectError,
)
from tests.shared.platform.wire import EVENT, Wire, platform, says, text


@pytest.mark.parametrize(
    ("fields", "task_id"),
    [
        ({"taskId": "task_7", "status": "queued"}, "task_7"),
        ({"id": "msg_1"}, "msg_1"),
        ({"taskId": 7}, "7"),
        ({"ids": [{"id": "true_7@c.us_3EB0"}]}, "true_7@c.us_3EB0"),
        ({"taskId": "task_7", "ids": [{"id": "other"}], "error": "a warning"}, "task_7"),
        ({"data": {"ids": [{"id": 7}]}}, "7"),
        ({"ids": []}, None),
        ({"ids": ["wrong"]}, None),
        ({"ids": {"id": "wrong"}}, None),
        (
            {"success": True, "taskId": "task_7", "status": "queued", "message": "Message queued"},
            "task_7",
        ),
        ({"success": True}, None),
        ({"success": True, "error": None}, None),
        ({"taskId": ["wrong"]}, None),
    ],
)
def test_a_send_and_its_task(fields: dict[str, Any], task_id: str | None) -> None:
    assert platform(Wire(says(fields))).send("42", EVENT).task_id == task_id


@pytest.mark.parametrize(
    "answer",
    [
        text("<html>Welcome</html>"),
        text(""),
        text("OK"),
        text('{"taskId": "t'),
        says([]),
        says("queued"),
        httpx.Response(204),
        httpx.Response(200, content=b"\xff\xfe\x00"),
        httpx.Response(200, content=b" " * 3_000_000),
    ],
)
def test_a_success_that_is_no_object_leaves_a_send_unknown(answer: httpx.Response) -> None:
    """It may come from something that stands in front of the platform; nobody can know."""
    with pytest.raises(UnknownEffectError) as caught:
        platform(Wire(answer)).send("42", EVENT)
    assert "private words" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [{"error": "Session closed"}, {"errors": [{"code": 1}]}, {"data": {"error": {"code": "E1"}}}],
)
def test_a_success_with_an_error_and_no_id_leaves_a_send_unknown(fields: dict[str, Any]) -> None:
    """The contract knows only `status: "error"`; whatever this is, it is neither sent nor proven unsent."""
    with pytest.raises(UnknownEffectError, match="names no message"):
        platform(Wire(says(fields))).send("42", EVENT)


def test_a_send_is_asked_once() -> None:
    """Whatever comes of it, nothing here tries a send again."""
    for failure in (
        httpx.ReadTimeout(""),
        httpx.ConnectError(""),
        says({}, 500),
        says({}, 429),
        says({}, 400),
    ):
        wire = Wire(failure)
        with pytest.raises(PlatformError):
            platform(wire).send("42", EVENT)
        assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (says({"success": True}), True),
        (text(""), True),
        (httpx.Response(204), True),
        (says({"error": "Message not found"}, 404), False),
        (says({"error": "bad id"}, 400), False),
        (says({"error": "message not found here"}, 410), False),
    ],
)
def test_delete(answer: httpx.Response, *, expected: bool) -> None:
    """Any 2xx has deleted it; one that the platform does not know is gone already."""
    assert platform(Wire(answer)).delete("42", "task_7") is expected


def test_delete_that_is_refused_or_not_answered() -> None:
    """A proxy that finds nothing behind it does not say that the message is gone."""
    proxy = text("404 page not found", 404)
    for answer, error in (
        (says({}, 403), RefusedError),
        (says({}, 500), UnavailableError),
        (proxy, UnavailableError),
    ):
        with pytest.raises(error):
            platform(Wire(answer)).delete("42", "task_7")


def test_a_refused_reaction() -> None:
    with pytest.raises(RefusedError, match="not found"):
        platform(Wire(says({"status": "error", "message": "Message not found"}))).react(
            "42", "7", "true_1", "👍"
        )

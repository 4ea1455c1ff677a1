"""Sending, deleting and reacting: all known answers, and bad answers."""

from typing import Any

import httpx
import pytest

from shared.errors import PlatformError, RefusedError, UnavailableError, UnknownEffectError
from tests.shared.platform.recording_transport import (
    EVENT,
    RecordingTransport,
    account_answering,
    json_response,
    open_account,
    text_response,
)


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
def test_a_send_returns_the_task_id(fields: dict[str, Any], task_id: str | None) -> None:
    assert account_answering(json_response(fields)).send(EVENT).task_id == task_id


@pytest.mark.parametrize(
    "answer",
    [
        text_response("<html>Welcome</html>"),
        text_response(""),
        text_response("OK"),
        text_response('{"taskId": "t'),
        json_response([]),
        json_response("queued"),
        httpx.Response(204),
        httpx.Response(200, content=b"\xff\xfe\x00"),
        httpx.Response(200, content=b" " * 3_000_000),
    ],
)
def test_a_success_without_an_object_leaves_the_effect_unknown(answer: httpx.Response) -> None:
    """The answer may come from a proxy in front of the platform."""
    with pytest.raises(UnknownEffectError) as caught:
        account_answering(answer).send(EVENT)
    assert "private words" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [{"error": "Session closed"}, {"errors": [{"code": 1}]}, {"data": {"error": {"code": "E1"}}}],
)
def test_a_success_with_an_error_and_no_id_leaves_the_effect_unknown(
    fields: dict[str, Any],
) -> None:
    """The contract knows only `status: "error"`, so this answer proves neither result."""
    with pytest.raises(UnknownEffectError, match="without a message id"):
        account_answering(json_response(fields)).send(EVENT)


def test_a_send_is_requested_once() -> None:
    """The client never retries a send."""
    for failure in (
        httpx.ReadTimeout(""),
        httpx.ConnectError(""),
        json_response({}, 500),
        json_response({}, 429),
        json_response({}, 400),
    ):
        transport = RecordingTransport(failure)
        with pytest.raises(PlatformError):
            open_account(transport).send(EVENT)
        assert len(transport.requests) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (json_response({"success": True}), True),
        (text_response(""), True),
        (httpx.Response(204), True),
        (json_response({"error": "Message not found"}, 404), False),
        (json_response({"error": "bad id"}, 400), False),
        (json_response({"error": "message not found here"}, 410), False),
    ],
)
def test_delete(answer: httpx.Response, *, expected: bool) -> None:
    """Any 2xx means deleted; False means that the platform does not know the message."""
    assert account_answering(answer).delete("task_7") is expected


def test_a_delete_that_fails() -> None:
    """A 404 of a proxy is no evidence that the message is deleted."""
    proxy = text_response("404 page not found", 404)
    for answer, error in (
        (json_response({}, 403), RefusedError),
        (json_response({}, 500), UnavailableError),
        (proxy, UnavailableError),
    ):
        with pytest.raises(error):
            account_answering(answer).delete("task_7")


def test_a_refused_reaction() -> None:
    with pytest.raises(RefusedError, match="not found"):
        account_answering(json_response({"status": "error", "message": "Message not found"})).react(
            "7", "true_1", "👍"
        )

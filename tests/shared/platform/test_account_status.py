"""Start, status and QR code of an account: all known answers, and bad answers."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from shared.errors import UnavailableError
from shared.platform.models import QrCode, StartResult
from tests.shared.platform.recording_transport import (
    PNG,
    account_answering,
    json_response,
    text_response,
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"qr": "2@abc"}, StartResult("qr", QrCode("2@abc"))),
        ({"qrCode": "2@abc", "status": "connected"}, StartResult("qr", QrCode("2@abc"))),
        ({"status": "connected"}, StartResult("connected", None)),
        ({"state": "READY"}, StartResult("connected", None)),
        ({"status": "starting"}, StartResult("starting", None)),
        ({"status": "pending", "qr": None}, StartResult("starting", None)),
        ({"status": "unknown word"}, StartResult("starting", None)),
        ({"status": 7, "qr": ""}, StartResult("starting", None)),
    ],
)
def test_start(fields: dict[str, Any], expected: StartResult) -> None:
    assert account_answering(json_response(fields)).start() == expected


@pytest.mark.parametrize(
    "answer", [text_response("OK"), text_response("<html>"), text_response(""), json_response([1])]
)
def test_start_needs_no_json(answer: httpx.Response) -> None:
    """The platform accepted the call; a later status shows the result."""
    assert account_answering(answer).start() == StartResult("starting", None)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("connected", "connected"),
        ("Connected", "connected"),
        ("ready", "connected"),
        ("starting", "starting"),
        ("pending", "starting"),
        ("offline", "offline"),
        ("disconnected", "offline"),
        ("logout", "offline"),
        ("qr", "qr_required"),
        ("error", "qr_required"),
        ("unknown word", "qr_required"),
    ],
)
def test_status(word: str, expected: str) -> None:
    assert account_answering(json_response({"status": word})).get_status() == expected
    assert account_answering(json_response({"data": {"state": word}})).get_status() == expected


@pytest.mark.parametrize(
    "answer",
    [
        text_response("<html>"),
        text_response(""),
        json_response({}),
        json_response({"status": None}),
        json_response({}, 502),
    ],
)
def test_no_status_is_not_offline(answer: httpx.Response) -> None:
    """An unreadable answer is no evidence about the account."""
    with pytest.raises(UnavailableError):
        account_answering(answer).get_status()


@pytest.mark.parametrize("name", ["qr", "qrCode", "qrcode"])
@pytest.mark.parametrize("within", [lambda fields: fields, lambda fields: {"data": fields}])
def test_a_qr_code_is_read_under_all_its_names(
    name: str, within: Callable[[dict[str, str]], object]
) -> None:
    assert account_answering(json_response(within({name: "2@abc"}))).get_qr() == "2@abc"
    assert (
        account_answering(json_response(within({name: PNG}))).get_qr()
        == f"data:image/png;base64,{PNG}"
    )


@pytest.mark.parametrize(
    "answer",
    [
        json_response({"qr": None}),
        json_response({}),
        text_response("<html>"),
        json_response({"qr": 7}),
    ],
)
def test_an_account_without_a_qr_code(answer: httpx.Response) -> None:
    assert account_answering(answer).get_qr() is None


SINCE = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("answer", "events"),
    [
        (json_response({"events": [{"type": "chat"}, None, 7]}), [{"type": "chat"}]),
        (json_response({"events": []}), []),
        (json_response({"events": None}), None),
        (json_response([1]), None),
        (text_response("Cannot GET /api/accounts/1/messages", 404), None),
        (json_response({"error": "not for you"}, 403), None),
    ],
    ids=["events", "none", "no-list", "no-object", "no-route", "refused"],
)
def test_the_history_of_an_account(
    answer: httpx.Response, events: list[dict[str, Any]] | None
) -> None:
    """A platform without the call cannot tell."""
    assert account_answering(answer).list_events(SINCE) == events

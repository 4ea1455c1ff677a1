"""Starting, states and codes of accounts, against every answer that the platform was seen to give, and bad ones."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from shared.errors import (
    UnavailableError,
)
from shared.platform.models import StartResult
from tests.shared.platform.wire import PNG, Wire, platform, says, text


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"qr": "2@abc"}, StartResult("qr", "2@abc")),  # type: ignore[arg-type] # a Qr is a str
        ({"qrCode": "2@abc", "status": "connected"}, StartResult("qr", "2@abc")),  # type: ignore[arg-type] # a Qr is a str
        ({"status": "connected"}, StartResult("connected", None)),
        ({"state": "READY"}, StartResult("connected", None)),
        ({"status": "starting"}, StartResult("starting", None)),
        ({"status": "pending", "qr": None}, StartResult("starting", None)),
        ({"status": "never heard of"}, StartResult("starting", None)),
        ({"status": 7, "qr": ""}, StartResult("starting", None)),
    ],
)
def test_start(fields: dict[str, Any], expected: StartResult) -> None:
    assert platform(Wire(says(fields))).start("42") == expected


@pytest.mark.parametrize("answer", [text("OK"), text("<html>"), text(""), says([1])])
def test_start_survives_what_is_no_json(answer: httpx.Response) -> None:
    """It has been asked for; its status will tell."""
    assert platform(Wire(answer)).start("42") == StartResult("starting", None)


@pytest.mark.parametrize(
    ("said", "expected"),
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
        ("never heard of", "qr_required"),
    ],
)
def test_status(said: str, expected: str) -> None:
    assert platform(Wire(says({"status": said}))).status("42") == expected
    assert platform(Wire(says({"data": {"state": said}}))).status("42") == expected


@pytest.mark.parametrize(
    "answer", [text("<html>"), text(""), says({}), says({"status": None}), says({}, 502)]
)
def test_no_status_is_not_offline(answer: httpx.Response) -> None:
    """What cannot be read says nothing about the account."""
    with pytest.raises(UnavailableError):
        platform(Wire(answer)).status("42")


@pytest.mark.parametrize("name", ["qr", "qrCode", "qrcode"])
@pytest.mark.parametrize("within", [lambda fields: fields, lambda fields: {"data": fields}])
def test_qr_under_all_its_names(name: str, within: Callable[[dict[str, str]], object]) -> None:
    assert platform(Wire(says(within({name: "2@abc"})))).qr("42") == "2@abc"
    assert platform(Wire(says(within({name: PNG})))).qr("42") == f"data:image/png;base64,{PNG}"


@pytest.mark.parametrize("answer", [says({"qr": None}), says({}), text("<html>"), says({"qr": 7})])
def test_no_qr_yet(answer: httpx.Response) -> None:
    assert platform(Wire(answer)).qr("42") is None

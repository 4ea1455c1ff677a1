"""Calls are lines of the conversation, with what became of them."""

from typing import Any

import pytest

from shared.webhooks.calls import describe_call


@pytest.mark.parametrize(
    ("fields", "words", "text", "is_final"),
    [
        ({"isVideo": False}, ("incomingcall",), "[Voice call]", False),
        ({"isVideo": True}, ("call.received",), "[Video call]", False),
        ({}, ("call.log",), "[Call]", False),
        ({"isVideo": False}, ("call.rejected",), "[Declined voice call]", True),
        ({"isVideo": False}, ("call.missed",), "[Missed voice call]", True),
        ({"status": "timeout"}, ("call",), "[Missed call]", True),
        ({"status": "offer"}, ("call",), "[Call]", False),
        ({"status": "accept", "isVideo": True}, ("call",), "[Answered video call]", True),
        (
            {"callOutcome": "Missed", "isVideoCall": False},
            ("call.log",),
            "[Missed voice call]",
            True,
        ),
        ({"callOutcome": 1}, ("calllogmesssage",), "[Missed call]", True),
        (
            {"callOutcome": 0, "durationSecs": "125"},
            ("calllogmesssage",),
            "[Answered call, 2:05]",
            True,
        ),
        (
            {"callDuration": 61, "isVideo": False},
            ("call.log",),
            "[Answered voice call, 1:01]",
            True,
        ),
        ({"callDuration": [], "callOutcome": 99, "status": {}}, ("call",), "[Call]", False),
    ],
    ids=str,
)
def test_a_call_is_read(
    fields: dict[str, Any],
    words: tuple[str, ...],
    text: str,
    is_final: bool,  # noqa: FBT001
) -> None:
    description, final = describe_call(fields, words)
    assert (description.text, final) == (text, is_final)


def test_the_structure_of_a_call() -> None:
    description, _ = describe_call({"isVideo": False, "callDuration": 5}, ("call.log",))
    assert description.metadata == {
        "call": {"video": False, "outcome": "answered", "duration_s": 5}
    }

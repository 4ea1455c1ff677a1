"""The reason of a failure is found in every spelling."""

from typing import Any

import pytest

from shared.webhooks.reasons import MAX_REASON, find_reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"reason": "no such number"}, "no such number"),
        ({"error": {"message": "no such number"}}, "no such number"),
        ({"errors": [{"code": 131026, "title": "Undeliverable"}]}, "Undeliverable (131026)"),
        (
            {
                "errors": [
                    {
                        "code": 131047,
                        "title": "Re-engagement message",
                        "message": "Re-engagement message",
                        "error_data": {"details": "24 hours have passed"},
                    }
                ]
            },
            "Re-engagement message: 24 hours have passed (131047)",
        ),
        ({"errors": [{"code": 1}, {"code": 2}]}, "1; 2"),
        ({"errors": ["first", "second"]}, "first; second"),
        ({"errors": []}, None),
        ({"errors": [None, {}, []]}, None),
        ({"statusReason": 401}, "401"),
        ({"message": "the text that was to be sent"}, None),
        ({"reason": "x" * 9000}, "x" * MAX_REASON),
        ({"error": {"error": {"error": {"error": {"error": "deep"}}}}}, None),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_reason_is_read(fields: dict[str, Any], reason: str | None) -> None:
    assert find_reason(fields) == reason

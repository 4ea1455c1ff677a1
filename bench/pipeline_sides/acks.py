"""The platform's acks, as stock parts read them."""

from typing import Any


def read_ack(event: dict[str, Any]) -> tuple[str, str]:
    """Return the platform's id and the status that an event names."""
    if event["type"] == "message.sent":
        return event["data"]["taskId"], "sent"
    return event["messageId"], event["status"]

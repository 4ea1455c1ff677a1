"""The two ends of a message: the peer's number, and our own."""

from typing import Any

import pytest

from shared.outcomes import MessageOutcome
from tests.shared.webhooks.webhook_events import interpret

PEER, OWN = "79990001122", "79995550000"
OURS, THEIRS = f"true_{PEER}@c.us_3EB0EE01", f"false_{PEER}@c.us_3EB0AA11"

ENDS: list[tuple[dict[str, Any], str, str | None]] = [
    ({"from": f"{PEER}@c.us", "to": f"{OWN}@c.us"}, PEER, OWN),
    ({"from": f"+{PEER}"}, PEER, None),
    ({"from": f"{OWN}@c.us", "to": f"{PEER}@c.us", "fromMe": True}, PEER, OWN),
    (
        {"from": f"{PEER}@c.us", "to": f"{OWN}@c.us", "fromMe": True, "messageId": OURS},
        PEER,
        OWN,
    ),
    ({"from": f"+{PEER}", "fromMe": True}, PEER, None),
    ({"from": f"{OWN}@c.us", "to": f"{OWN}@c.us", "fromMe": True}, OWN, OWN),
    ({"from": f"{PEER}@c.us", "to": f"{PEER}@c.us"}, PEER, None),
    ({"from": f"{PEER}@c.us", "to": "123456789012345@lid"}, PEER, None),
    ({"from": "123456789012345@lid", "to": f"{OWN}@c.us"}, "", None),
]


@pytest.mark.parametrize(
    ("fields", "peer", "own"), ENDS, ids=[str(number) for number in range(len(ENDS))]
)
def test_our_own_number_is_the_end_that_is_not_the_peer(
    fields: dict[str, Any], peer: str, own: str | None
) -> None:
    """Both ends have to be named: a guess would keep a person out of the clients."""
    _, outcomes = interpret({"type": "chat", "text": "Hello", **fields})
    message = outcomes[0]
    assert isinstance(message, MessageOutcome)
    assert (message.phone, message.own_phone) == (peer, own)

"""How a broker's messages look in Redis, and what becomes of those that fail."""

from typing import Any, Protocol
from uuid import UUID

from dramatiq import Broker, Message

from shared.lanes.types import Append, Claim, ClaimResult, Settled


class Codec(Protocol):
    """Any actor's messages (`MessageCodec`), or typed events (`workers/broker.py`)."""

    def encode(self, message: "Message[Any]", delay_s: float) -> Append:
        """Return the append of a message."""

    def decode(self, claim: Claim) -> "Message[Any]":
        """Return the message of a claim; may raise any exception."""

    def failed(self, claim: Claim, error: BaseException | None) -> ClaimResult | None:
        """Return the end of a claim whose actor or decoding failed; None leaves it to its lease."""


class MessageCodec:
    """Dramatiq's own encoding of any actor's messages; their options name their lane."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def encode(self, message: "Message[Any]", delay_s: float) -> Append:
        actor = self._broker.actors.get(message.actor_name)
        options = {**(actor.options if actor else {}), **message.options}
        max_age_ms = options.get("max_age")
        return Append(
            id=UUID(message.message_id),
            queue=message.queue_name,
            lane=options.get("lane") or message.message_id,
            tenant=options.get("tenant") or message.actor_name,
            body=message.encode().decode(),
            gates=tuple(options.get("gates") or ()),
            delay_s=delay_s,
            max_age_s=max_age_ms and max_age_ms / 1000,
        )

    def decode(self, claim: Claim) -> "Message[Any]":
        return Message.decode(claim.body)

    def failed(self, claim: Claim, error: BaseException | None) -> Settled:
        """Dead-letter the message: its record has the reason, and the message itself."""
        reason = repr(error) if error else "rejected"
        dead = {"reason": reason, "code": "failed", "dead_letter": claim.body.decode()}
        return Settled("failed", fields=dead)

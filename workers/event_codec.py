"""Events as Dramatiq messages: an actor is sent an event, and receives it typed."""

from dataclasses import replace
from typing import Any

from dramatiq import Message

from shared.events import (
    CallbackEvent,
    ChangeEvent,
    Event,
    MediaEvent,
    ProvisionEvent,
    SendEvent,
    WebhookEvent,
    is_change,
)
from shared.lanes.types import Append, Claim, ClaimResult
from shared.routing import route_event
from workers.runner import conclude_failed

ACTORS: dict[str, tuple[str, type[Event]]] = {
    "send": ("send_message", SendEvent),
    "provision": ("provision_integration", ProvisionEvent),
    "webhook": ("handle_webhook", WebhookEvent),
    "media": ("store_media", MediaEvent),
    "callback": ("post_callback", CallbackEvent),
}
"""By queue: the name of its actor (`workers/actors.py`), and what that receives."""


class EventCodec:
    """Lanes hold events as JSON, as any producer appends them; the queue determines the actor."""

    def encode(self, message: "Message[Any]", delay_s: float) -> Append:
        """Return the append of the only argument of a message, an event."""
        [event] = message.args
        return replace(route_event(event), delay_s=delay_s)

    def decode(self, claim: Claim) -> "Message[Any]":
        """Return the message of an event.

        Raises:
            ValidationError: it cannot be read here; a newer version wrote it.
        """
        actor_name, event_type = ACTORS[claim.queue]
        if claim.queue == "send" and is_change(claim.body):
            event_type = ChangeEvent
        event = event_type.model_validate_json(claim.body)
        return Message(claim.queue, actor_name, (event,), {}, {}, str(claim.id), claim.accepted_ms)

    def failed(self, claim: Claim, error: BaseException | None) -> ClaimResult | None:
        return conclude_failed(claim, error)

"""Our engine with the bench's handler: `dramatiq bench.engine_sides.ours_worker`."""

import dramatiq

from bench.engine_sides.handling import handle
from shared.events import WebhookEvent
from workers.broker import broker
from workers.event_codec import EventCodec

broker.codec = EventCodec()


@dramatiq.actor(queue_name="webhook")
def handle_webhook(event: WebhookEvent) -> None:
    handle(event.payload)

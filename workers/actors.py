"""The actors of all queues, and what their processes prepare before the first event.

Each actor receives one event, claimed at the head of its lane (`shared/lanes`). It is enqueued by
`send_message.send(event)`, by the ingress or by any producer (`shared/producer.py`).
"""

from functools import partial

import dramatiq

from shared.events import (
    CallbackEvent,
    ChangeEvent,
    MediaEvent,
    ProvisionEvent,
    SendEvent,
    WebhookEvent,
)
from workers import callback, media
from workers.broker import SaveTokens, broker
from workers.context import worker_context
from workers.event_codec import EventCodec
from workers.provision import handler as provision
from workers.runner import run_event
from workers.send import changes
from workers.send import handler as send
from workers.telling import tell_end
from workers.webhook import handler as webhook

broker.codec = EventCodec()
broker.lanes.on_concluded = tell_end
broker.lanes.runs["webhook"] = webhook.MAX_RUN
broker.add_middleware(SaveTokens(lambda: worker_context().tokens))


def build_contexts() -> None:
    """Build what the actors work with, in this process.

    Raises:
        ConfigurationError: a setting is missing or wrong, said so that it can be mended.
    """
    worker_context()
    media.media_context()
    callback.callback_context()


@dramatiq.actor(queue_name="send")
def send_message(event: SendEvent | ChangeEvent) -> None:
    if isinstance(event, ChangeEvent):
        run_event(event, changes.handle_change, changes.dead_letter_change)
    else:
        run_event(event, send.handle_send, send.dead_letter_send)


@dramatiq.actor(queue_name="provision")
def provision_integration(event: ProvisionEvent) -> None:
    run_event(event, provision.handle_provision, provision.dead_letter_provision)


@dramatiq.actor(queue_name="webhook")
def handle_webhook(event: WebhookEvent) -> None:
    run_event(event, webhook.handle_webhook, webhook.dead_letter_webhook, webhook.handle_following)


@dramatiq.actor(queue_name="media")
def store_media(event: MediaEvent) -> None:
    handle = partial(media.handle_media, media=media.media_context())
    run_event(event, handle, media.dead_letter_media)


@dramatiq.actor(queue_name="callback")
def post_callback(event: CallbackEvent) -> None:
    ours = callback.callback_context()
    run_event(
        event,
        partial(callback.handle_callback, ours=ours),
        partial(callback.dead_letter_callback, ours=ours),
    )

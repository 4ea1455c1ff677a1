"""Entry point of all Dramatiq workers: `dramatiq workers.main --queues send` and so on.

Each actor receives one event, claimed at the head of its lane (`shared/lanes`). It is enqueued by
`send_message.send(event)`, by the ingress or by any producer (`shared/producer.py`).
"""

from functools import partial

import dramatiq

from shared import logs
from shared.events import ChangeEvent, MediaEvent, ProvisionEvent, SendEvent, WebhookEvent
from shared.redis import connect_durable
from shared.settings import RedisSettings, load_settings
from workers import media
from workers.broker import SaveTokens, broker
from workers.context import worker_context
from workers.event_codec import EventCodec
from workers.process import exit_on_startup_error
from workers.provision import handler as provision
from workers.runner import run_event
from workers.send import changes
from workers.send import handler as send
from workers.telling import tell_end
from workers.webhook import handler as webhook

with exit_on_startup_error():
    logs.configure_logging("worker")
    connect_durable(load_settings(RedisSettings)).close()
    worker_context()
    media.media_context()


broker.codec = EventCodec()
broker.lanes.on_concluded = tell_end
broker.add_middleware(SaveTokens(lambda: worker_context().tokens))


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
    run_event(event, webhook.handle_webhook, webhook.dead_letter_webhook)


@dramatiq.actor(queue_name="media")
def store_media(event: MediaEvent) -> None:
    handle = partial(media.handle_media, media=media.media_context())
    run_event(event, handle, media.dead_letter_media)

"""Entry point of all Dramatiq workers: `dramatiq workers.main --queues send` and so on.

An actor follows wake-ups of one kind; which events there are is the lanes' business.
"""

from functools import partial

import dramatiq

from shared import logs
from shared.events import MediaEvent, ProvisionEvent, QueueName, SendEvent, WebhookEvent
from shared.lanes.wakeups import wake
from shared.redis import check_durability
from shared.settings import RedisSettings, load_settings
from workers import media
from workers.broker import FairShare, SaveTokens, broker, stopping
from workers.context import Handle, worker_context
from workers.process import exit_on_startup_error
from workers.provision import handler as provision
from workers.runner import STAY_S, DeadLetterHandler, drain, parse_first
from workers.send import handler as send
from workers.webhook import handler as webhook

with exit_on_startup_error():
    logs.configure_logging("worker")
    check_durability(broker.client, allow=load_settings(RedisSettings).wpp_allow_volatile_redis)
    worker_context()
    media.media_context()


broker.add_middleware(FairShare(lambda: worker_context().lanes))
broker.add_middleware(SaveTokens(lambda: worker_context().tokens))


@dramatiq.actor(broker=broker, queue_name="send")
def drain_send() -> None:
    _drain(
        "send",
        parse_first(SendEvent, send.handle_send),
        parse_first(SendEvent, send.dead_letter_send),
    )


@dramatiq.actor(broker=broker, queue_name="provision")
def drain_provision() -> None:
    _drain(
        "provision",
        parse_first(ProvisionEvent, provision.handle_provision),
        parse_first(ProvisionEvent, provision.dead_letter_provision),
    )


@dramatiq.actor(broker=broker, queue_name="webhook")
def drain_webhook() -> None:
    _drain(
        "webhook",
        parse_first(WebhookEvent, webhook.handle_webhook),
        parse_first(WebhookEvent, webhook.dead_letter_webhook),
    )


@dramatiq.actor(broker=broker, queue_name="media")
def drain_media() -> None:
    _drain(
        "media",
        partial(parse_first(MediaEvent, media.handle_media), media=media.media_context()),
        parse_first(MediaEvent, media.dead_letter_media),
    )


def _drain(kind: QueueName, handle: Handle, give_up: DeadLetterHandler) -> None:
    ctx = worker_context()
    if drain(ctx.lanes, kind, lambda claim: handle(claim, ctx), give_up, stopping, STAY_S):
        wake(broker.client, kind)

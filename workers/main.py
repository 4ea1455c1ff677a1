"""Entry point of all Dramatiq workers: `dramatiq workers.main --queues send` and so on.

An actor follows wake-ups of one kind; which events there are is the lanes' business.
"""

from functools import partial

import dramatiq

from shared import logs
from shared.events import Kind
from shared.lanes.wakeups import wake
from shared.redis import client as durable
from shared.settings import RedisSettings, load
from workers import media
from workers.broker import FairShare, SaveTokens, broker, stopping
from workers.context import Handle, services
from workers.process import or_say_why
from workers.provision import handler as provision
from workers.runner import STAY_S, GiveUp, drain
from workers.send import handler as send
from workers.webhook import handler as webhook

with or_say_why():
    logs.configure("worker")
    durable.refuse_volatile(broker.client, allow=load(RedisSettings).wpp_allow_volatile_redis)
    services()
    media.own_files()


broker.add_middleware(FairShare(lambda: services().lanes))
broker.add_middleware(SaveTokens(lambda: services().tokens))


@dramatiq.actor(broker=broker, queue_name="send")
def drain_send() -> None:
    _drain("send", send.handle, send.give_up)


@dramatiq.actor(broker=broker, queue_name="provision")
def drain_provision() -> None:
    _drain("provision", provision.handle, provision.give_up)


@dramatiq.actor(broker=broker, queue_name="webhook")
def drain_webhook() -> None:
    _drain("webhook", webhook.handle, webhook.give_up)


@dramatiq.actor(broker=broker, queue_name="media")
def drain_media() -> None:
    _drain("media", partial(media.handle, files=media.own_files()), media.give_up)


def _drain(kind: Kind, handle: Handle, give_up: GiveUp) -> None:
    here = services()
    if drain(here.lanes, kind, lambda claim: handle(claim, here), give_up, stopping, STAY_S):
        wake(broker.client, kind)

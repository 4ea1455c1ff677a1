"""Dramatiq's Redis broker with its defaults: `dramatiq bench.engine_sides.stock_worker`."""

import os
from functools import cache
from typing import Any

import dramatiq
import httpx
from dramatiq.brokers.redis import RedisBroker

from bench.engine_sides.handling import handle

broker = RedisBroker(url=os.environ["REDIS_URL"])
dramatiq.set_broker(broker)


@dramatiq.actor(broker=broker)
def take(payload: dict[str, Any]) -> None:
    handle(payload)


@dramatiq.actor(broker=broker, queue_name="post")
def post(body: dict[str, str]) -> None:
    _http().post(f"{os.environ['WPP_BASE_URL']}/api/messages/text", json=body).raise_for_status()


@cache
def _http() -> httpx.Client:
    """A client for all threads: a client per thread or message costs several times as much."""
    return httpx.Client(headers={"Authorization": "Bearer bench"})


def _nothing() -> None: ...


for queue in ("send", "provision", "webhook"):
    dramatiq.actor(actor_name=f"idle_{queue}", queue_name=queue, broker=broker)(_nothing)

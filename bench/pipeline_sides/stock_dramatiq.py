"""The job on stock Dramatiq: `uvicorn …:app` and `dramatiq bench.pipeline_sides.stock_dramatiq`."""

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.pipeline_sides import stock_job
from bench.pipeline_sides.stock_routes import build_app

broker = RedisBroker(url=os.environ["REDIS_URL"])
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="send")
def send_message(message_id: str, organization_id: str, to: str, text: str) -> None:
    stock_job.send(message_id, organization_id, to, text)


@dramatiq.actor(queue_name="webhook")
def handle_event(event_id: str, account: str, event: dict[str, Any]) -> None:
    stock_job.handle(event_id, account, event)


app = build_app(send_message.send, handle_event.send)

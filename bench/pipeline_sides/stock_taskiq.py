"""The job on taskiq: `uvicorn …:app` and `taskiq worker bench.pipeline_sides.stock_taskiq:send`.

Redis streams with acknowledgements, and retries, as taskiq's guides teach.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from taskiq import SmartRetryMiddleware
from taskiq_redis import RedisStreamBroker

from bench.pipeline_sides import stock_async_job
from bench.pipeline_sides.stock_routes import build_async_app


def _open_queue(name: str) -> RedisStreamBroker:
    queue = RedisStreamBroker(os.environ["REDIS_URL"], queue_name=name, consumer_id="0")
    retries = SmartRetryMiddleware(
        default_retry_count=10, default_delay=1, default_retry_label=True, use_jitter=True
    )
    return queue.with_middlewares(retries)


send = _open_queue("send")
webhook = _open_queue("webhook")


@send.task
async def send_message(message_id: str, organization_id: str, to: str, text: str) -> None:
    await stock_async_job.send(message_id, organization_id, to, text)


@webhook.task
async def handle_event(event_id: str, account: str, event: dict[str, Any]) -> None:
    await stock_async_job.handle(event_id, account, event)


@asynccontextmanager
async def open_queues(_app: FastAPI) -> AsyncIterator[None]:
    await send.startup()
    await webhook.startup()
    yield
    await send.shutdown()
    await webhook.shutdown()


app = build_async_app(send_message.kiq, handle_event.kiq, open_queues)

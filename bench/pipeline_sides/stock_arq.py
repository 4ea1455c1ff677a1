"""The job on arq: `uvicorn …:app` and `arq bench.pipeline_sides.stock_arq.SendWorker`.

A job that raises `Retry` runs again after a growing pause, as arq's documentation teaches.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from arq import ArqRedis, Retry, create_pool
from arq.connections import RedisSettings
from fastapi import FastAPI

from bench.pipeline_sides import stock_async_job
from bench.pipeline_sides.stock_job import UnknownMessageError
from bench.pipeline_sides.stock_routes import build_async_app

REDIS = RedisSettings.from_dsn(os.environ["REDIS_URL"])
MAX_TRIES = 10
pools: list[ArqRedis] = []


async def send_message(
    _ctx: dict[str, Any], message_id: str, organization_id: str, to: str, text: str
) -> None:
    await stock_async_job.send(message_id, organization_id, to, text)


async def handle_event(
    ctx: dict[str, Any], event_id: str, account: str, event: dict[str, Any]
) -> None:
    try:
        await stock_async_job.handle(event_id, account, event)
    except UnknownMessageError as error:
        raise Retry(defer=ctx["job_try"]) from error


class SendWorker:
    functions: ClassVar = [send_message]
    queue_name = "send"
    redis_settings = REDIS
    max_jobs = 32
    max_tries = MAX_TRIES
    keep_result = 0


class WebhookWorker:
    functions: ClassVar = [handle_event]
    queue_name = "webhook"
    redis_settings = REDIS
    max_jobs = 32
    max_tries = MAX_TRIES
    keep_result = 0


@asynccontextmanager
async def open_pool(_app: FastAPI) -> AsyncIterator[None]:
    pools.append(await create_pool(REDIS))
    yield
    await pools.pop().aclose()


async def enqueue_send(*arguments: Any) -> None:
    await pools[0].enqueue_job("send_message", *arguments, _queue_name="send")


async def enqueue_event(*arguments: Any) -> None:
    await pools[0].enqueue_job("handle_event", *arguments, _queue_name="webhook")


app = build_async_app(enqueue_send, enqueue_event, open_pool)

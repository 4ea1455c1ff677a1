"""The job on Celery: `uvicorn …:app` and `celery -A …stock_celery:celery worker`.

A task is acknowledged when it has ended, and retried with growing pauses, as Celery's guide says
for tasks that may run twice. Threads, since the job waits for servers.
"""

import os
from typing import Any

from celery import Celery

from bench.pipeline_sides import stock_job
from bench.pipeline_sides.stock_routes import build_app

celery = Celery("stock", broker=os.environ["REDIS_URL"])
celery.conf.update(task_ignore_result=True, task_acks_late=True)
RETRIES = {"autoretry_for": (Exception,), "retry_backoff": True, "max_retries": 10}


@celery.task(**RETRIES)
def send_message(message_id: str, organization_id: str, to: str, text: str) -> None:
    stock_job.send(message_id, organization_id, to, text)


@celery.task(**RETRIES)
def handle_event(event_id: str, account: str, event: dict[str, Any]) -> None:
    stock_job.handle(event_id, account, event)


celery.conf.task_routes = {send_message.name: "send", handle_event.name: "webhook"}
app = build_app(send_message.delay, handle_event.delay)

"""The baseline: FastAPI, a plain `def` route, validation, and `actor.send` on the stock broker.

Run by `uvicorn bench.webhook_load.baseline:app`, with REDIS_URL. Unlike the ingress it guarantees
neither order nor deduplication, nor that Redis has written the event to disk before the answer.
"""

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from fastapi import FastAPI
from pydantic import BaseModel

broker = RedisBroker(url=os.environ["REDIS_URL"])
dramatiq.set_broker(broker)
app = FastAPI()


class Media(BaseModel):
    mimetype: str
    base64: str


class PostedEvent(BaseModel):
    account: str
    sender: str | None = None
    type: str
    text: str = ""
    messageId: str  # noqa: N815 - the platform's spelling
    timestamp: int
    media: Media | None = None


@dramatiq.actor(broker=broker)
def handle(_event: dict[str, Any]) -> None:
    """Never run: only the server is measured."""


@app.post("/webhooks/wpp/{account}")
def receive(account: str, event: PostedEvent) -> dict[str, bool]:
    handle.send({**event.model_dump(), "account": account})
    return {"ok": True}


@app.get("/health")
def health() -> dict[str, bool]:
    return {"ok": True}

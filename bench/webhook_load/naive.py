"""The door that one would write first: FastAPI, a plain `def` route, validation, and `actor.send` on the stock broker.

Run by `uvicorn bench.webhook_load.naive:app`, with REDIS_URL. It promises nothing of what ours does: neither order, nor
once, nor that Redis has the event on its disk when the broker says so.
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


class Arrived(BaseModel):
    account: str
    sender: str | None = None
    type: str
    text: str = ""
    messageId: str  # noqa: N815 - as it is posted
    timestamp: int
    media: Media | None = None


@dramatiq.actor(broker=broker)
def handle(_event: dict[str, Any]) -> None:
    """Nobody works here: what is measured is the door."""


@app.post("/webhooks/wpp/{account}")
def receive(account: str, event: Arrived) -> dict[str, bool]:
    handle.send({**event.model_dump(), "account": account})
    return {"ok": True}


@app.get("/health")
def health() -> dict[str, bool]:
    return {"ok": True}

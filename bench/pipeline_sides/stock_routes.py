"""The two routes of stock parts: FastAPI with plain `def` routes, or coroutines, that enqueue."""

import os
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from bench.pipeline_sides.stock_job import OutgoingMessage

bearer = HTTPBearer()


def check_key(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> None:
    if credentials.credentials != os.environ["STOCK_API_KEY"]:
        raise HTTPException(401, "invalid key")


def build_app(send: Callable[..., Any], handle: Callable[..., Any]) -> FastAPI:
    """Return the app: `send` enqueues a message, `handle` an event."""
    app = FastAPI()

    @app.post("/messages", status_code=202, dependencies=[Depends(check_key)])
    def send_message(message: OutgoingMessage) -> dict[str, str]:
        message_id = str(uuid4())
        send(message_id, message.organization_id, message.to, message.text)
        return {"id": message_id, "status": "queued"}

    @app.post("/webhooks/{account}")
    def receive(account: str, event: dict[str, Any]) -> dict[str, bool]:
        handle(str(uuid4()), account, event)
        return {"ok": True}

    @app.get("/ready")
    def ready() -> dict[str, bool]:
        return {"ok": True}

    return app


def build_async_app(
    send: Callable[..., Awaitable[Any]], handle: Callable[..., Awaitable[Any]], lifespan: Any
) -> FastAPI:
    """Return the same app for a queue whose calls are awaited."""
    app = FastAPI(lifespan=lifespan)

    @app.post("/messages", status_code=202, dependencies=[Depends(check_key)])
    async def send_message(message: OutgoingMessage) -> dict[str, str]:
        message_id = str(uuid4())
        await send(message_id, message.organization_id, message.to, message.text)
        return {"id": message_id, "status": "queued"}

    @app.post("/webhooks/{account}")
    async def receive(account: str, event: dict[str, Any]) -> dict[str, bool]:
        await handle(str(uuid4()), account, event)
        return {"ok": True}

    @app.get("/ready")
    async def ready() -> dict[str, bool]:
        return {"ok": True}

    return app

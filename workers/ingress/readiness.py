"""GET /health and /ready: whether the process runs, and whether it can accept requests."""

import asyncio
from http import HTTPStatus

import redis
import redis.asyncio
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared.redis import explain_outage
from shared.redis.replication import check_writable_async
from workers.ingress.errors import RETRY_AFTER_S, problem

log = structlog.get_logger()


class ReadinessCheck:
    """Checks that Redis accepts writes. Probes have no quota: concurrent ones share a check."""

    def __init__(self, client: "redis.asyncio.Redis", replicas: int) -> None:
        self._client = client
        self._replicas = replicas
        self._running: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Raise redis.RedisError if Redis accepts no writes, or `replicas` do not confirm them."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._write())
        await asyncio.shield(self._running)

    async def _write(self) -> None:
        await check_writable_async(self._client, self._replicas)


async def get_health(_request: Request) -> Response:
    """Answer while the process runs."""
    return JSONResponse({"ok": True})


async def get_readiness(request: Request) -> Response:
    """Answer while Redis accepts writes, so that requests can be accepted; else say why not."""
    check: ReadinessCheck = request.app.state.ingress.readiness
    try:
        await check.run()
    except redis.RedisError as error:
        log.warning("redis.unavailable", error=str(error))
        return problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "queue_unavailable",
            f"{explain_outage(error)}. Nothing can be accepted now.",
            Retry_After=str(RETRY_AFTER_S),
        )
    return JSONResponse({"ok": True})

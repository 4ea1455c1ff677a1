"""GET /health, /health/pipeline and /ready: whether this process, and the pipeline, can work."""

import asyncio
import math
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared import processes
from shared.redis import explain_outage, keys
from shared.redis.replication import check_writable_async
from workers.ingress.errors import RETRY_AFTER_S, problem

if TYPE_CHECKING:  # it has a field of this class
    from workers.ingress.deps import AppState

FAULTS_TTL_S = 1.0

log = structlog.get_logger()


class ReadinessCheck:
    """Checks that Redis accepts writes. Probes have no quota: concurrent ones share a check."""

    def __init__(self, client: "redis.asyncio.Redis", replicas: int) -> None:
        self._client = client
        self._replicas = replicas
        self._running: asyncio.Task[None] | None = None
        self._faults: list[str] = []
        self._faults_at_s = -math.inf

    async def run(self) -> None:
        """Raise redis.RedisError if Redis accepts no writes, or `replicas` do not confirm them."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._write())
        await asyncio.shield(self._running)

    async def find_faults(self) -> list[str]:
        """Return what accepted events wait for, as of the last second; raises redis.RedisError."""
        if time.monotonic() - self._faults_at_s > FAULTS_TTL_S:
            at_ms = processes.read_time(await self._client.time())
            stored: Any = await self._client.hgetall(keys.PROCESSES)
            self._faults = processes.describe_faults(processes.parse_reports(stored), at_ms)
            self._faults_at_s = time.monotonic()
        return self._faults

    async def _write(self) -> None:
        await check_writable_async(self._client, self._replicas)


async def get_health(_request: Request) -> Response:
    """Answer while the process runs."""
    return JSONResponse({"ok": True})


async def get_pipeline_health(request: Request) -> Response:
    """Answer 200 while queues, outbox and lanes are consumed; else name what is not.

    It turns red within 30 s when a consumption stops. No probe of a single process: it is about
    all of them.
    """
    faults = await _list_faults(_checks(request))
    if faults:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "not_consumed", "; ".join(faults))
    return JSONResponse({"ok": True})


async def get_readiness(request: Request) -> Response:
    """Answer while Redis accepts writes, so that requests can be accepted; else say why not.

    Of several shards the home has to: requests of organizations on the others do not wait for each.

    `not_consumed` says what accepted events wait for: no reason to refuse them.
    """
    checks = _checks(request)
    home, *_ = checks.values()
    try:
        await home.run()
        await home.find_faults()
    except redis.RedisError as error:
        log.warning("redis.unavailable", error=str(error))
        return problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "queue_unavailable",
            f"{explain_outage(error)}. Nothing can be accepted now.",
            Retry_After=str(RETRY_AFTER_S),
        )
    return JSONResponse({"ok": True, "not_consumed": await _list_faults(checks)})


def _checks(request: Request) -> Mapping[str, ReadinessCheck]:
    """Return the checks of all shards by name, the home's first; that of a single Redis as ""."""
    state: AppState = request.app.state.ingress
    if state.shards is None:
        return {"": state.readiness}
    return {name: each.readiness for name, each in state.shards.by_name.items()}


async def _list_faults(checks: Mapping[str, ReadinessCheck]) -> list[str]:
    """Return what accepted events wait for, on each shard."""
    found: list[str] = []
    for name, check in checks.items():
        try:
            faults = await check.find_faults()
        except redis.RedisError as error:
            faults = [f"{explain_outage(error)}: nothing is consumed"]
        found += [f"shard {name}: {fault}" if name else fault for fault in faults]
    return found

"""Tells that a gate is open again when it was not closed anew after its time.

A gate closes for seconds at a time: when they are over, a single event tries, and may close it
again. `GRACE_S` later nothing has closed it, so it is open.
"""

import time
from collections.abc import Callable
from threading import Event as Flag
from typing import Any
from uuid import UUID

import redis
import structlog

from shared.redis import keys
from shared.route_cache import RouteCache
from workers import gates

PAUSE_S = 8.0
GRACE_S = 8.0

log = structlog.get_logger()


class GateWatch:
    """The closed gates, as a clock sees them; of several clocks, the first tells."""

    def __init__(
        self,
        client: "redis.Redis",
        routes: RouteCache,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._routes = routes
        self._clock = clock
        self._open_since: dict[str, float] = {}

    def run(self, stopping: Flag) -> None:
        """Look until told to stop."""
        while not stopping.wait(PAUSE_S):
            try:
                self.look()
            except redis.RedisError as error:
                log.warning("gate_watch.failed", error=str(error))

    def look(self) -> None:
        """Tell each gate that has been open for `GRACE_S`."""
        told: Any = self._client.hkeys(keys.CLOSED_GATES)
        now = self._clock()
        seen: dict[str, float] = {}
        for name in map(bytes.decode, told):
            if self._client.exists(keys.gate(name)):
                continue
            seen[name] = self._open_since.get(name, now)
            if now - seen[name] >= GRACE_S:
                gates.tell_opened(name, self._client, self._find_owner(name))
        self._open_since = seen

    def _find_owner(self, gate: str) -> dict[str, str]:
        try:
            integration_id = UUID(gate.rpartition(":")[2])
        except ValueError:
            return {}
        route = self._routes.find_route(integration_id)
        return route.named if route else {"integration_id": str(integration_id)}

"""Bring the events of organizations to their callbacks: each event once into its lane.

Each callback has a position in the events of its organization. Events are appended to the lanes
first, then the position is moved on: a dispatcher that is killed in between appends the same events
again, under the same ids, which the lanes recognize. Any number of dispatchers may run.
"""

import contextlib
from threading import Event as Flag
from typing import Any
from uuid import UUID

import redis
import structlog

from shared.callbacks import CallbackBatch
from shared.database import Database
from shared.errors import DatabaseError, OverloadedError
from shared.lanes.client import Lanes
from shared.lanes.records import total_waiting
from shared.redis import keys
from shared.routing import route_callback
from shared.shards import EVERYTHING, ShardPart

PAGE = 100
"""Events of a callback that are appended at a time."""
BUSY = 5_000
"""Posts of an organization that wait, from which on its events stay where they are."""
STRAINED = 200
"""The same for callbacks that fail: what waits for a broken receiver stays in Supabase."""
POLL_S = 5.0
"""How often it is looked for events without a notification."""
NONE_S = 10.0
"""The same while there is no callback at all."""
GATHER_S = 0.05
AWAY_S = 2.0

log = structlog.get_logger()


class Dispatcher:
    """Appends events to the lanes of callbacks, for the organizations of a shard."""

    def __init__(
        self,
        client: "redis.Redis",
        lanes: Lanes,
        database: Database,
        part: ShardPart = EVERYTHING,
    ) -> None:
        self._part = part
        self._client = client
        self._lanes = lanes
        self._database = database

    def run(self, stopping: Flag) -> None:
        """Dispatch until told to stop, whenever the recorder announces changes."""
        while not stopping.is_set():
            try:
                with contextlib.closing(self._client.pubsub()) as changes:
                    changes.psubscribe(keys.changes("*"))
                    self._run_with(changes, stopping)
            except redis.RedisError as error:
                _report_failure(error, stopping)

    def dispatch(self) -> tuple[int, bool]:
        """Append the next events; return how many callbacks there are, and whether more wait.

        Raises:
            DatabaseError: Supabase does not answer.
            redis.RedisError: Redis does not answer.
        """
        waiting = total_waiting(self._client, ["callback"])["callback"]
        found = self._database.callbacks.list_new_events(
            PAGE,
            busy=[
                *(UUID(tenant) for tenant, count in waiting.items() if count >= BUSY),
                *self._part.list_others(),
            ],
            strained=[UUID(tenant) for tenant, count in waiting.items() if count >= STRAINED],
        )
        moved = [
            self._append(batch)
            for batch in found.batches
            if self._part.has(batch.callback.organization_id)
        ]
        return found.callbacks, any(moved)

    def _append(self, batch: CallbackBatch) -> bool:
        """Append a batch and move its position on; return whether it went on."""
        callback, reached = batch.callback, batch.callback.position
        wanted = callback.filter
        try:
            for event in batch.page.events:
                if wanted.allows(event):
                    self._lanes.append(route_callback(callback, event))
                reached = event.id
            reached = batch.page.last
        except OverloadedError as error:
            log.warning("callbacks.no_room", callback_id=str(callback.id), error=str(error))
        return reached > callback.position and self._database.callbacks.advance(callback, reached)

    def _run_with(self, changes: Any, stopping: Flag) -> None:
        while not stopping.is_set():
            try:
                count, more = self.dispatch()
            except DatabaseError as error:  # keeps the subscription
                _report_failure(error, stopping)
                continue
            if more:
                continue
            if not count:
                stopping.wait(NONE_S)
            elif changes.get_message(timeout=POLL_S) and not stopping.wait(GATHER_S):
                while changes.get_message(timeout=0):
                    pass


def _report_failure(error: Exception, stopping: Flag) -> None:
    log.warning("callbacks.not_dispatched", error=str(error))
    stopping.wait(AWAY_S)

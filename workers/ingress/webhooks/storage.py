"""Store incoming events in their lanes, and their long texts beside them."""

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import redis

from shared.errors import OverloadedError
from shared.lanes.types import Append
from shared.lanes.wire import OVERLOADED
from shared.redis import keys
from shared.redis.replication import check_writable_async
from shared.redis.scripts import LuaScript
from shared.webhooks import RETRY_WINDOW_S
from workers.ingress.deps import AppState

CHUNK = 1 << 18
LOOKUP_BATCH = 500
"""Look-ups of a round trip: Redis answers them in a millisecond."""
UNACCEPTED_TTL_S = 300
"""How long a text is kept while its event is not accepted."""

EXTEND_TTL = LuaScript("""
local ttl, unaccepted, count = tonumber(ARGV[1]), tonumber(ARGV[2]), 0
for _, key in ipairs(KEYS) do
  local left = redis.call('TTL', key)
  if left ~= -2 then count = count + 1 end
  if left >= 0 and left <= unaccepted then redis.call('EXPIRE', key, ttl) end
end
return count
""")
"""Extend the TTL of texts, except of those that a worker has released; return how many exist."""


class IncomingEvent(NamedTuple):
    """An event, its long texts by digest, and the id it would have had in the last time window.

    An event without an id of its own is identified by its content and the time window in which it
    came; a retry may come in the next window.
    """

    append: Append
    texts: dict[str, bytes]
    earlier: UUID | None = None


async def store_events(events: list[IncomingEvent], state: AppState) -> None:
    """Store each event once, its long texts first.

    Texts are written outside the pipeline of the events, which would wait for them. They are kept
    for minutes until their event is accepted, and then for as long as it may need them.
    """
    if any(event.earlier for event in events):
        known = await _find_accepted({event.earlier for event in events if event.earlier}, state)
        events = [event for event in events if event.earlier not in known]
    if not any(event.texts for event in events):
        await state.producer.append_all([event.append for event in events])
        return
    await _check_room({event.append.tenant for event in events if event.texts}, state)
    for append, texts, _ in events:
        for digest, text in texts.items():
            await _store_text(keys.payload(append.id, digest), text, state)
    appends = [event.append for event in events]
    accepted = await state.producer.append_all(appends)
    for (append, texts, _), answer in zip(events, accepted, strict=True):
        if texts and (answer.new or answer.state in {"queued", "claimed"}):
            names = [keys.payload(append.id, digest) for digest in texts]
            await _extend_ttl(names, state.payload_ttl_s, state)
        texts.clear()


async def _check_room(accounts: Iterable[str], state: AppState) -> None:
    """Refuse long texts of an account whose events are refused anyway: they would fill Redis.

    Raises:
        OverloadedError: an account has reached its limit of bytes.
    """
    for account in accounts:
        waiting: Any = await state.redis.hget(keys.waiting_bytes("webhook"), account)
        if int(waiting or 0) >= state.lanes.settings.wpp_waiting_bytes_limit:
            raise OverloadedError(OVERLOADED["bytes"])


async def _find_accepted(ids: Iterable[UUID], state: AppState) -> set[UUID]:
    """Return those events that were accepted within the retry window, in few round trips."""
    since_ms = (time.time() - RETRY_WINDOW_S) * 1000
    found: set[UUID] = set()
    remaining = iter(ids)
    while batch := tuple(islice(remaining, LOOKUP_BATCH)):
        times = await state.acceptances.read([keys.event(each) for each in batch])
        found.update(
            each
            for each, accepted_ms in zip(batch, times, strict=True)
            if accepted_ms is not None and int(accepted_ms) > since_ms
        )
    if state.lanes.replicas and found:  # they may not have confirmed the first attempt
        await check_writable_async(state.redis, state.lanes.replicas)
    return found


async def _store_text(name: str, text: bytes, state: AppState) -> None:
    """Store a long text in chunks, so that Redis serves its clients in between.

    It gets its name once it is complete. A text that an earlier attempt stored is kept.

    Raises:
        OverloadedError: Redis has no memory left.
    """
    if await _extend_ttl([name], UNACCEPTED_TTL_S, state):
        return
    incomplete = f"{name}:{uuid4().hex}"
    try:
        await state.redis.set(incomplete, text[:CHUNK], ex=UNACCEPTED_TTL_S)
        for start in range(CHUNK, len(text), CHUNK):
            await state.redis.setrange(incomplete, start, text[start : start + CHUNK])
        await state.redis.rename(incomplete, name)
    except redis.exceptions.OutOfMemoryError as error:
        await state.redis.delete(incomplete)
        msg = "the queue has no memory left for files; try again later"
        raise OverloadedError(msg) from error


async def _extend_ttl(names: list[str], ttl_s: int, state: AppState) -> int:
    count: Any = await EXTEND_TTL.run_async(state.redis, names, (ttl_s, UNACCEPTED_TTL_S))
    return int(count)

"""Keeping what was posted: events in their lanes, and their long texts beside them."""

import asyncio
import time
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import redis

from shared.errors import OverloadedError
from shared.lanes import records
from shared.lanes.client import Append
from shared.redis import keys
from shared.webhooks.classify import RETRY_WINDOW_S
from workers.ingress.deps import Doorway

PIECE = 1 << 18
UNFINISHED_S = 300
"""How long a text stays whose event is not accepted (yet)."""

HOLD = """
local ttl, unfinished, there = tonumber(ARGV[1]), tonumber(ARGV[2]), 0
for _, key in ipairs(KEYS) do
  local left = redis.call('TTL', key)
  if left ~= -2 then there = there + 1 end
  if left >= 0 and left <= unfinished then redis.call('EXPIRE', key, ttl) end
end
return there
"""
"""Let texts stay for longer, but not those that somebody is done with; return how many there are."""


class Item(NamedTuple):
    """An event, the texts that wait beside it by their digests, and its id if it came in the retry window before."""

    append: Append
    blobs: dict[str, bytes]
    earlier: UUID | None = None


async def keep(here: Doorway, items: list[Item]) -> None:
    """Keep every event, once, its long texts first.

    These travel alone: in one pipeline with the events of others they would hold these up. They stay for minutes until
    their event is accepted, and only then for as long as it may need them.
    """
    came = await asyncio.gather(
        *(_came_before(item.earlier, here) for item in items if item.earlier)
    )
    if any(came):
        again = {
            item.earlier
            for item, before in zip((i for i in items if i.earlier), came, strict=True)
            if before
        }
        items = [item for item in items if item.earlier not in again]
    for append, texts, _ in items:
        for digest, text in texts.items():
            await _keep_text(here, keys.payload(append.event.id, digest), text)
    accepted = await here.appends.append_all([item.append for item in items]) if items else []
    for (append, texts, _), answer in zip(items, accepted, strict=True):
        if texts and (answer.new or answer.state in {"queued", "claimed"}):
            await _hold(
                here,
                [keys.payload(append.event.id, digest) for digest in texts],
                here.blob_ttl_s,
            )
        texts.clear()


async def _came_before(earlier: UUID | None, here: Doorway) -> bool:
    """Return whether an event that nothing but the hour tells from this one came within the retry window."""
    accepted_ms: Any = (
        await here.redis.hget(records.record_key(earlier), "accepted") if earlier else None
    )
    return accepted_ms is not None and time.time() * 1000 - int(accepted_ms) < RETRY_WINDOW_S * 1000


async def _keep_text(here: Doorway, name: str, text: bytes) -> None:
    """Keep a long text, in pieces: Redis, which syncs each write to its disk, serves others in between.

    It appears under its name when it is whole. What is there already (the platform tried before) stays.
    """
    if await _hold(here, [name], UNFINISHED_S):
        return
    unfinished = f"{name}:{uuid4().hex}"
    try:
        await here.redis.set(unfinished, text[:PIECE], ex=UNFINISHED_S)
        for start in range(PIECE, len(text), PIECE):
            await here.redis.setrange(unfinished, start, text[start : start + PIECE])
        await here.redis.rename(unfinished, name)
    except redis.exceptions.OutOfMemoryError as error:
        await here.redis.delete(unfinished)
        msg = "there is no room for files in Redis; try again later"
        raise OverloadedError(msg) from error


async def _hold(here: Doorway, names: list[str], ttl_s: int) -> int:
    there: Any = await here.redis.eval(HOLD, len(names), *names, str(ttl_s), str(UNFINISHED_S))
    return int(there)

"""Arguments and replies of the Lua scripts: JSON in, lists of bytes out."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_json

from shared.errors import IdempotencyConflictError, MovedError, OverloadedError
from shared.lanes.types import Accepted, Append, Claim, ClaimResult, LostEvent, Settled
from shared.settings import EngineSettings

OVERLOADED = {
    "outbox": "too much is waiting to be written to Supabase; try again later",
    "waiting": "too many events of yours are waiting (WPP_WAITING_LIMIT); try again later",
    "bytes": "too many bytes of yours are waiting (WPP_WAITING_BYTES_LIMIT); try again later",
    "memory": "there is no room for more; try again later",
}

_COMPACT = json.JSONEncoder(separators=(",", ":"))
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str
)


def fingerprint(value: Mapping[str, Any]) -> str:
    """Return a hash that is equal for equal requests: half of the SHA-256 of the canonical JSON.

    128 bits suffice to notice a different request, and a record keeps them for days.
    """
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()[:32]


def fingerprint_fields(fields: Mapping[str, Any]) -> str:
    """Return what `fingerprint` returns, of fields that are no numbers with a fraction: faster."""
    return hashlib.sha256(to_json(dict(sorted(fields.items())))).hexdigest()[:32]


def dump_model(model: BaseModel) -> str:
    return model.model_dump_json(exclude_none=True)


def dump(value: Mapping[str, Any]) -> str:
    """Return the JSON of fields of a model, where their values are valid."""
    return to_json(value).decode()


def dump_json(value: Any) -> str:
    return _COMPACT.encode(value)


def dump_appends(items: Sequence[Append], settings: EngineSettings) -> list[str]:
    """Return the arguments of the script `APPEND`.

    The texts of events stand beside the JSON, not in it, where Redis would parse them.
    """
    request = {"events": [_build_head(item, settings) for item in items], **_limits(settings)}
    arguments = [to_json(request).decode()]
    for item in items:
        arguments.append(item.body)
        arguments += _dump_outcomes(item)
    return arguments


def build_append(item: Append, settings: EngineSettings) -> dict[str, Any]:
    """Return an append as an argument in JSON: that of a script which does more than append."""
    head = _build_head(item, settings)
    texts = {"body": item.body, "outcomes": _dump_outcomes(item)}
    return {**head, **_limits(settings), **texts}


def _dump_outcomes(item: Append) -> list[str]:
    return [*map(dump_model, item.outcomes), *item.rows]


def _limits(settings: EngineSettings) -> dict[str, Any]:
    return {
        "outbox_limit": settings.wpp_outbox_limit,
        "waiting_limit": settings.wpp_waiting_limit,
        "waiting_bytes_limit": settings.wpp_waiting_bytes_limit,
    }


def _build_head(item: Append, settings: EngineSettings) -> dict[str, Any]:
    head: dict[str, Any] = {
        "id": str(item.id),
        "queue": item.queue,
        "lane": item.lane,
        "tenant": item.tenant,
        "gates": " ".join(item.gates),
        "delay": int(item.delay_s * 1000),
        "max_age": int(min(item.max_age_s or math.inf, settings.wpp_max_age_s) * 1000),
        "bytes_beside": item.bytes_beside,
        "print": item.fingerprint,
        "outcomes": len(item.outcomes) + len(item.rows),
    }
    if item.level != "normal":
        head["level"] = item.level
    if item.version > 1:
        head["v"] = item.version
    if item.send_at:
        head["at"] = int(item.send_at.timestamp() * 1000)
    return head


def split_replies(replies: Sequence[bytes]) -> list[list[bytes]]:
    """Return the words of each reply of the script `APPEND`.

    They come as a string: Redis writes each list within a list to the connection on its own.
    """
    return [reply.split() for reply in replies]


def read_accepted(item: Append, reply: Sequence[bytes]) -> Accepted:
    """Read the script's reply to one append.

    Raises:
        IdempotencyConflictError: the id stands for a different request.
        OverloadedError: a limit is reached, or the tenant moves (`MovedError`).
    """
    word = reply[0].decode()
    if word == "conflict":
        raise IdempotencyConflictError
    if word == "moved":
        raise MovedError
    if word == "full":
        raise OverloadedError(OVERLOADED[reply[1].decode()])
    state: Any = reply[1].decode()
    return Accepted(id=item.id, new=word == "new", state=state)


def read_claim(queue: str, reply: Sequence[Any], until_s: float = math.inf) -> Claim:
    return Claim(
        queue=queue,
        id=UUID(reply[0].decode()),
        lane=reply[1].decode(),
        fence=reply[2].decode(),
        attempts=int(reply[3]),
        accepted_ms=int(reply[4]),
        expires_ms=int(reply[5]),
        now_ms=int(reply[6]),
        body=reply[7],
        reason=reply[8].decode(),
        unexpected_errors=int(reply[9]),
        resends=int(reply[10]),
        lost_leases=int(reply[11]),
        file_task=reply[12].decode(),
        until_s=until_s,
        following=tuple(read_claim(queue, each, until_s) for each in reply[13]),
    )


def read_lost(queue: str, reply: bytes) -> LostEvent:
    found = json.loads(reply)
    named = {name: found[name] for name in ("lane", "tenant", "why")}
    return LostEvent(queue, UUID(found["id"]), **named, raw=reply.decode())


def dump_result(claim: Claim, result: ClaimResult, settings: EngineSettings) -> str:
    """Return the JSON that concludes `claim`.

    Raises:
        ValueError: an outcome cannot be written as JSON, such as half of a surrogate pair.
    """
    arguments: dict[str, Any] = {"id": str(claim.id), "lane": claim.lane, "fence": claim.fence}
    if isinstance(result, Settled):
        arguments |= _build_end(claim, result, settings)
        if result.run:
            arguments["run"] = [_build_end(each, end, settings) for each, end in result.run]
        return dump_json(arguments)
    arguments |= {
        "state": "queued",
        "delay": int(result.delay_s * 1000),
        "fields": {"reason": result.reason, **result.fields},
        "outcomes": [dump_model(outcome) for outcome in result.outcomes],
    }
    if result.unstarted:
        arguments["unstarted"] = True
    return dump_json(arguments)


def _build_end(claim: Claim, end: Settled, settings: EngineSettings) -> dict[str, Any]:
    return {
        "id": str(claim.id),
        "state": end.state,
        "fields": dict(end.fields),
        "outcomes": [dump_model(outcome) for outcome in end.outcomes],
        "follow": [build_append(item, settings) for item in end.follow],
    }

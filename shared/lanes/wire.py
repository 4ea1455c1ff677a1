"""Arguments and replies of the Lua scripts: JSON in, lists of bytes out."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from shared.errors import IdempotencyConflictError, OverloadedError
from shared.lanes.types import Accepted, Append, Claim, ClaimResult, LostEvent, Postponed
from shared.settings import EngineSettings

OVERLOADED = {
    "outbox": "too much is waiting to be written to Supabase; try again later",
    "waiting": "too many events of yours are waiting (WPP_WAITING_LIMIT); try again later",
    "bytes": "too many bytes of yours are waiting (WPP_WAITING_BYTES_LIMIT); try again later",
    "memory": "there is no room for more; try again later",
}


def fingerprint(value: Mapping[str, Any]) -> str:
    """Return a hash that is equal for equal requests: half of the SHA-256 of the canonical JSON.

    128 bits suffice to notice a different request, and a record keeps them for days.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def dump_model(model: BaseModel) -> str:
    return model.model_dump_json(exclude_none=True)


def dump_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def build_append(item: Append, settings: EngineSettings) -> dict[str, Any]:
    return {
        "id": str(item.id),
        "queue": item.queue,
        "lane": item.lane,
        "tenant": item.tenant,
        "gates": list(item.gates),
        "delay": int(item.delay_s * 1000),
        "max_age": int(min(item.max_age_s or math.inf, settings.wpp_max_age_s) * 1000),
        "outbox_limit": settings.wpp_outbox_limit,
        "waiting_limit": settings.wpp_waiting_limit,
        "waiting_bytes_limit": settings.wpp_waiting_bytes_limit,
        "bytes_beside": item.bytes_beside,
        "print": item.fingerprint,
        "body": item.body,
        "outcomes": [dump_model(outcome) for outcome in item.outcomes],
    }


def read_accepted(item: Append, reply: Sequence[bytes]) -> Accepted:
    """Read the script's reply to one append.

    Raises:
        IdempotencyConflictError: the id stands for a different request.
        OverloadedError: a limit is reached.
    """
    word = reply[0].decode()
    if word == "conflict":
        raise IdempotencyConflictError
    if word == "full":
        raise OverloadedError(OVERLOADED[reply[1].decode()])
    state: Any = reply[1].decode()
    return Accepted(id=item.id, new=word == "new", state=state)


def read_claim(queue: str, reply: Sequence[bytes], until_s: float = math.inf) -> Claim:
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
        until_s=until_s,
    )


def read_lost(queue: str, reply: bytes) -> LostEvent:
    found = json.loads(reply)
    return LostEvent(**{**found, "id": UUID(found["id"])}, queue=queue, raw=reply.decode())


def dump_result(claim: Claim, result: ClaimResult, settings: EngineSettings) -> str:
    """Return the JSON that concludes `claim`.

    Raises:
        ValueError: an outcome cannot be written as JSON, such as half of a surrogate pair.
    """
    arguments: dict[str, Any] = {
        "id": str(claim.id),
        "lane": claim.lane,
        "fence": claim.fence,
        "fields": dict(result.fields),
        "outcomes": [dump_model(outcome) for outcome in result.outcomes],
    }
    if isinstance(result, Postponed):
        delay = int(result.delay_s * 1000)
        arguments |= {
            "state": "queued",
            "delay": delay,
            "fields": {"reason": result.reason, **result.fields},
        }
        if result.unstarted:
            arguments["unstarted"] = True
    else:
        follow = [build_append(item, settings) for item in result.follow]
        arguments |= {"state": result.state, "follow": follow}
    return dump_json(arguments)

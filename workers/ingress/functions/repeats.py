"""Repeats without an Idempotency-Key: the CRM's front end sends none.

Its wrapper repeats a POST whose answer was lost, and each browser with the same chat open sends a
failed message again at the same moment. The same function, organization, method, query and body
within `REPEAT_S` of the first sight is therefore one call: all of them get the same Idempotency-Key
for the API, whichever process serves them, also while the first is in work.
"""

import hashlib
import json
from typing import Any
from uuid import uuid4

from shared.redis import keys
from workers.ingress.functions.calls import FunctionCall

REPEAT_S = 10
"""The wrapper repeats within 9 s. A person who means the same text twice waits longer, or changes
it."""


async def claim_key(call: FunctionCall) -> str:
    """Return the Idempotency-Key of a call, in one atomic step for all processes."""
    name = keys.function_call(call.organization_id, call.name, _digest(call))
    pipe = call.state.redis.pipeline(transaction=True)
    pipe.set(name, uuid4().hex, nx=True, ex=REPEAT_S)
    pipe.get(name)
    replies: list[Any] = await pipe.execute()
    return f"function:{call.name}:{replies[1].decode()}"


def _digest(call: FunctionCall) -> str:
    """Return what a call has in common with its repeats; a DELETE has its id in the query."""
    address = json.dumps([call.method, sorted(call.query.items())]).encode()
    return hashlib.sha256(address + b"\0" + call.body).hexdigest()

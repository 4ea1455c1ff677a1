"""Repeats without an Idempotency-Key: the CRM's front end sends none.

Its wrapper repeats a POST whose answer was lost, and each browser with the same chat open sends a
failed message again at the same moment. The same function, organization, method, query and body
within `REPEAT_S` of the first sight is therefore one call: all of them get the same Idempotency-Key
for the API, whichever process serves them, also while the first is in work.
"""

import hashlib
import json
from typing import Any
from uuid import UUID, uuid4

from shared.redis import keys
from shared.redis.scripts import LuaScript
from workers.ingress.functions.calls import FunctionCall

REPEAT_S = 10
"""The wrapper repeats within 9 s. A person who means the same text twice waits longer, or changes
it."""

CLAIM_NEWEST = LuaScript("""
local held = redis.call('GET', KEYS[1])
local start = ARGV[1] .. ':'
if held and string.sub(held, 1, #start) == start then
  return string.sub(held, #start + 1)
end
redis.call('SET', KEYS[1], start .. ARGV[2], 'EX', ARGV[3])
return ARGV[2]
""")
"""Return the id of the newest text of a message; a text that differs from it gets a new id."""


async def claim_key(call: FunctionCall) -> str:
    """Return the Idempotency-Key of a call, in one atomic step for all processes."""
    name = keys.function_call(call.organization_id, call.name, _digest(call))
    pipe = call.state.redis.pipeline(transaction=True)
    pipe.set(name, uuid4().hex, nx=True, ex=REPEAT_S)
    pipe.get(name)
    replies: list[Any] = await pipe.execute()
    return f"function:{call.name}:{replies[1].decode()}"


async def claim_edit_key(call: FunctionCall, message_id: UUID, text: str) -> str:
    """Return the Idempotency-Key of an edit: a repeat has the text of the message's newest edit.

    A text that was changed and then changed back is an edit of its own, within `REPEAT_S` too.
    """
    name = keys.function_call(call.organization_id, call.name, str(message_id))
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    given = [digest, uuid4().hex, REPEAT_S]
    newest: bytes = await CLAIM_NEWEST.run_async(call.state.redis, [name], given)
    return f"function:{call.name}:{newest.decode()}"


def _digest(call: FunctionCall) -> str:
    """Return what a call has in common with its repeats; a DELETE has its id in the query."""
    address = json.dumps([call.method, sorted(call.query.items())]).encode()
    return hashlib.sha256(address + b"\0" + call.body).hexdigest()

"""A stand-in for the platform and Supabase that answers with next to no work.

`python -m bench.engine_sides.answers`: a process of its own, whose CPU is not counted. It prints
its port. `/sent` returns the number of messages so far; after `/late/50` each message is answered
50 ms later, like a distant platform.
"""

import asyncio
import json
from functools import partial
from typing import Any
from uuid import UUID

NUMBERS = [UUID(int=number) for number in range(1, 21)]
"""The integrations, each of an organization and with an account of the same id."""
INTEGRATIONS = [
    {
        "id": str(each),
        "organization_id": str(each),
        "name": "",
        "account": str(each),
        "is_primary": True,
        "is_enabled": True,
        "status": "disconnected",
    }
    for each in NUMBERS
]

ANSWERS: dict[bytes, Any] = {
    b"/api/messages": {"taskId": "task_7", "status": "queued"},
    b"/auth/token": {"token": "bench", "expiresIn": 900},
    b"/rest/v1/rpc/wpp_apply_parked": 0,
    b"/rest/v1/rpc/wpp_apply": {
        "changed": [],
        "refused": [],
        "set_aside": [],
        "waiting": 0,
    },
    b"/rest/v1/rpc/wpp_callback_events": {"callbacks": 0, "batches": []},
    b"/rest/v1/rpc/wpp_claim_set_aside": {"claimed": None, "set_aside": [], "due_in_s": None},
    b"/rest/v1/rpc/wpp_settings": {"wppApiKey": "bench"},
    b"/rest/v1/rpc/": 0,  # an empty answer
    b"/rest/v1/wpp_integrations": INTEGRATIONS,
    b"/": [],
}


class Counts:
    sent = 0
    late_s = 0.0


class Answering(asyncio.Protocol):
    """Answer each request of a connection by the first matching path prefix in `ANSWERS`."""

    def __init__(self) -> None:
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, found, body = self._seen.partition(b"\r\n\r\n")
        if found and len(body) >= _length(head):
            self._seen = b""
            self.answer(head, body)

    def answer(self, head: bytes, _body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        answer = next(ANSWERS[key] for key in ANSWERS if path.startswith(key))
        if path.startswith(b"/late/"):
            Counts.late_s = int(path.rpartition(b"/")[2]) / 1000
        if path == b"/sent":
            answer = {"sent": Counts.sent}
        if path.startswith(b"/api/messages"):
            Counts.sent += 1
            self.write(answer, Counts.late_s)
        else:
            self.write(answer)

    def write(self, answer: Any, late_s: float = 0.0) -> None:
        body = json.dumps(answer).encode()
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(body)
        )
        write = partial(self._transport.write, head + body)  # type: ignore[attr-defined] # a TCP transport
        asyncio.get_running_loop().call_later(late_s, write) if late_s else write()


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


async def serve(protocol: type[Answering]) -> None:
    """Serve on a free port of this machine, which is printed."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Answering))

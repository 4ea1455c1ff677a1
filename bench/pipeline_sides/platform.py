"""A stand-in for the platform that takes messages and posts the acks of each as webhooks.

`python -m bench.pipeline_sides.platform`: a process of its own, which is not counted and does next
to no work. It prints its port. The acks of a message (`sent`, `delivered`, `read`) are posted one
after the other, each after a pause and after the last was accepted, as the platform does.

POST /plan: {"hooks": {account: URL}, "pauses_s": [...], "late_s": 0.05}, and forget all messages.
An account without a URL gets no acks.
GET /ledger: what arrived when, by the system's clock, and the acks that are on their way.
"""

import asyncio
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bench.engine_sides.answers import Answering, serve
from bench.webhook_load.load import Poster

ATTEMPTS = 20
REPEAT_AFTER_S = 0.5
ACKS = ("sent", "delivered", "read")


@dataclass
class Plan:
    hooks: dict[str, str] = field(default_factory=dict)
    pauses_s: tuple[float, float, float] = (0.05, 0.1, 0.1)
    late_s: float = 0.0


class State:
    plan = Plan()
    messages: list[dict[str, Any]]
    pending = 0
    refused = 0
    number = 0
    idle: dict[tuple[str, int], list[Poster]]
    tasks: set[asyncio.Task[None]]


def forget() -> None:
    State.messages, State.refused, State.tasks = [], 0, set()
    State.idle = defaultdict(list)


class Platform(Answering):
    """The API key of an account is its name, and so is its token."""

    def answer(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path == b"/auth/token":
            self.write({"token": json.loads(body)["apiKey"], "expiresIn": 900})
        elif path == b"/plan":
            forget()
            State.plan = Plan(**json.loads(body))
            self.write({})
        elif path == b"/ledger":
            self.write(
                {
                    "messages": State.messages,
                    "pending": State.pending,
                    "refused": State.refused,
                }
            )
        elif not path.startswith(b"/api/messages"):
            self.write({"status": "connected"})
        else:
            self.write(_take(_read_token(head), json.loads(body)), State.plan.late_s)


def _read_token(head: bytes) -> str:
    _, _, rest = head.partition(b"Bearer ")
    return rest.split(b"\r\n", 1)[0].decode()


def _take(account: str, message: dict[str, str]) -> dict[str, Any]:
    """Note a message, and begin its acks."""
    State.number += 1
    task_id = f"task_{State.number}"
    noted = {
        "account": account,
        "text": message["text"],
        "task_id": task_id,
        "at": time.time(),
        "acks": {},
    }
    State.messages.append(noted)
    if account not in State.plan.hooks:
        return {"success": True, "taskId": task_id, "status": "queued"}
    State.pending += 1
    task = asyncio.create_task(_report(State.plan, noted))
    State.tasks.add(task)
    task.add_done_callback(State.tasks.discard)
    return {"success": True, "taskId": task_id, "status": "queued"}


async def _report(plan: Plan, message: dict[str, Any]) -> None:
    account = message["account"]
    try:
        await asyncio.sleep(plan.late_s)
        for ack, pause_s in zip(ACKS, plan.pauses_s, strict=True):
            await asyncio.sleep(pause_s)
            message["acks"][ack] = time.time()
            await _post(plan.hooks[account], _render_ack(account, message["task_id"], ack))
    finally:
        State.pending -= 1


def _render_ack(account: str, task_id: str, ack: str) -> bytes:
    """Return a body in the shapes of the real platform: `sent` in an envelope, the rest flat."""
    event: dict[str, Any] = {
        "type": "delivery",
        "account": account,
        "messageId": task_id,
        "status": ack,
    }
    if ack == "sent":
        event = {
            "id": f"evt_{task_id}",
            "type": "message.sent",
            "created": int(time.time()),
            "data": {"account": account, "taskId": task_id},
        }
    return json.dumps(event).encode()


async def _post(url: str, body: bytes) -> None:
    """Post until it is accepted, or too often."""
    to = urlsplit(url)
    head = f"POST {to.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    address = (to.hostname or "", to.port or 80)
    for _ in range(ATTEMPTS):
        poster = await _connect(address)
        if poster and await poster.post(head.encode() + body):
            State.idle[address].append(poster)
            return
        await asyncio.sleep(REPEAT_AFTER_S)
    State.refused += 1


async def _connect(address: tuple[str, int]) -> Poster | None:
    idle = State.idle[address]
    while idle:
        poster = idle.pop()
        if not poster.transport.is_closing():
            return poster
    try:
        return (await asyncio.get_running_loop().create_connection(Poster, *address))[1]
    except OSError:
        return None


if __name__ == "__main__":
    forget()
    asyncio.run(serve(Platform))

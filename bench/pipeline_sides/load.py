"""Clients of a side: `python -m bench.pipeline_sides.load` reads a `Task` from its input as JSON.

Each connection sends its next message after the last answer; with `per_s`, messages are due at
fixed times. Prints when each request began and was answered, by the system's clock.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import uvloop

from bench.webhook_load.load import Poster

CONNECTIONS = 16


@dataclass(frozen=True)
class Task:
    """What to send: message `n` comes from sender `n`, over and over, to each peer in turn.

    `senders`: the header of each sender's requests, and further fields of its bodies.
    """

    url: str
    senders: list[tuple[str, dict[str, str]]]
    label: str
    messages: int
    peers: int
    per_s: float = 0.0
    connections: int = CONNECTIONS

    def message(self, number: int) -> tuple[int, str, str]:
        """Return the sender, the recipient and the text of a message. No text comes twice."""
        sender, turn = number % len(self.senders), number // len(self.senders)
        text = f"Hello, this is your appointment tomorrow at 10:30. {self.label}-{number}"
        return sender, f"+7999{sender:03}{turn % self.peers:04}", text


@dataclass
class Sent:
    sender: int
    to: str
    text: str
    began: float
    answered: float
    accepted: bool


async def send(task: Task) -> list[Sent]:
    found: list[Sent] = []
    numbers = iter(range(task.messages))
    began = time.time()
    sending = (_send_some(task, numbers, began, found) for _ in range(task.connections))
    await asyncio.gather(*sending)
    return found


async def _send_some(task: Task, numbers: Any, began: float, found: list[Sent]) -> None:
    to = urlsplit(task.url)
    target = f"{to.path}?{to.query}" if to.query else to.path
    connection = None
    for number in numbers:
        if task.per_s:
            await asyncio.sleep(max(0.0, began + number / task.per_s - time.time()))
        if connection is None or connection.transport.is_closing():
            opening = asyncio.get_running_loop().create_connection(
                Poster, to.hostname or "", to.port or 80
            )
            connection = (await opening)[1]
        sender, recipient, text = task.message(number)
        header, fields = task.senders[sender]
        body = json.dumps({"to": recipient, "text": text, **fields}).encode()
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += f"{header}\r\nContent-Length: {len(body)}\r\n\r\n"
        start = time.time()
        accepted = await connection.post(head.encode() + body)
        found.append(Sent(sender, recipient, text, start, time.time(), accepted))


def main() -> None:
    task = Task(**json.load(sys.stdin))
    json.dump([asdict(each) for each in uvloop.run(send(task))], sys.stdout)


if __name__ == "__main__":
    main()

"""A load on the pipeline, in a process of its own: `python -m bench.isolation_phases.load`.

The variable `ISOLATION_LOAD` holds a `Load` as JSON. At its end, or at SIGTERM, the process prints
the counts of the answers as a line of JSON. Its HTTP connections come from an address of its own.
"""

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import redis
from pydantic import BaseModel

from shared import routing
from shared.events import MAX_TEXT_BYTES, Message
from shared.lanes.client import Lanes
from shared.lanes.scripts import APPEND
from shared.redis import keys
from shared.settings import EngineSettings

VARIABLE = "ISOLATION_LOAD"
OWN_ADDRESS = "127.0.0.2"
BATCH_SIZE = 100
LONGEST_TEXT = "\N{GRINNING FACE}" * (MAX_TEXT_BYTES // 4)
BODY_BYTES = 20_000_000
CHUNK_BYTES = 1 << 18
BODY_SENDERS = 3
TEXT_SENDERS = 4
STREAMS = 500
REOPEN_S = 2.0
RENAME_EVERY_S = 1.0
PAUSE_S = 0.05

answers: Counter[str] = Counter()


class Load(BaseModel):
    """`work` names a function of this module; the rest is what it needs."""

    work: str
    redis_url: str
    host: str
    port: int
    key: str
    organization_id: UUID
    integration_id: UUID
    count: int = 0
    text: str = "Campaign"


def append_campaign(load: Load) -> None:
    """Append a message to each of `count` recipients, as the ingress does."""
    client = redis.Redis.from_url(load.redis_url)
    client.script_load(APPEND.source)
    make = make_arguments(load, Lanes(client, EngineSettings()))
    for start in range(0, load.count, BATCH_SIZE):
        pipe = client.pipeline(transaction=False)
        for number in range(start, min(start + BATCH_SIZE, load.count)):
            APPEND.add_to(pipe, [keys.PREFIX], make(number))
        replies: list[Any] = pipe.execute()
        answers.update(bytes(reply[0]).split()[0].decode() for reply in replies)


def make_arguments(load: Load, lanes: Lanes) -> Callable[[int], list[str]]:
    """Return a function that makes the arguments of an append: the first, for another recipient."""

    def phone(number: int) -> str:
        return f"7999{number:07}"

    message = Message(to=f"+{phone(0)}", text=load.text)
    item = routing.route_send(load.organization_id, load.integration_id, message)
    packed = lanes.append_arguments([item])

    def make(number: int) -> list[str]:
        own_id, own_phone = str(uuid4()), phone(number)
        return [text.replace(str(item.id), own_id).replace(phone(0), own_phone) for text in packed]

    return make


def send_long_texts(load: Load) -> None:
    """Send texts of the greatest length, 300 KB in Redis, over HTTP and into Redis."""
    _start_threads(TEXT_SENDERS, lambda: _post_text(load))
    client = redis.Redis.from_url(load.redis_url)
    lanes = Lanes(client, EngineSettings())
    for number in range(load.count):
        message = Message(to=f"+7999{number:07}", text=LONGEST_TEXT)
        item = routing.route_send(load.organization_id, load.integration_id, message)
        try:
            lanes.append(item)
            answers["appended"] += 1
        except Exception as error:  # noqa: BLE001 - a refusal is counted by its name
            answers[type(error).__name__] += 1
    signal.pause()


def _post_text(load: Load) -> None:
    transport = httpx.HTTPTransport(local_address=OWN_ADDRESS)
    headers = {"Authorization": f"Bearer {load.key}"}
    with httpx.Client(
        base_url=f"http://{load.host}:{load.port}", headers=headers, transport=transport, timeout=60
    ) as client:
        while True:
            body = {"to": f"+7997{time.time_ns() // 1000 % 10**7:07}", "text": LONGEST_TEXT}
            try:
                answers[str(client.post("/v1/messages", json=body).status_code)] += 1
            except httpx.TransportError as error:
                answers[type(error).__name__] += 1
            time.sleep(PAUSE_S)


def send_bodies(load: Load) -> None:
    """Send bodies of 20 MB without credentials, one after the answer to the last."""
    body = b'{"a":[' + b"[]," * ((BODY_BYTES - 10) // 3) + b"[]]}"
    requests = ("POST /v1/messages", f"PATCH /v1/integrations/{uuid4()}")
    for number in range(BODY_SENDERS):
        _start_threads(1, partial(_send_body, load, requests[number % 2], body))
    signal.pause()


def _send_body(load: Load, request: str, body: bytes) -> None:
    head = f"{request} HTTP/1.1\r\nHost: {load.host}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    while True:
        answers[_exchange(load, head.encode(), body)] += 1
        time.sleep(PAUSE_S)


def _exchange(load: Load, head: bytes, body: bytes) -> str:
    """Return the status of the answer, or the name of the network error."""
    try:
        with socket.create_connection(
            (load.host, load.port), timeout=60, source_address=(OWN_ADDRESS, 0)
        ) as connection:
            connection.sendall(head)
            try:
                for start in range(0, len(body), CHUNK_BYTES):
                    connection.sendall(body[start : start + CHUNK_BYTES])
            except OSError:
                pass  # the server has answered and closes
            return connection.recv(1024)[9:12].decode() or "closed"
    except OSError as error:
        return type(error).__name__


def open_streams(load: Load) -> None:
    """Hold event streams open, and rename the integration every second: each stream gets it."""
    threading.Thread(
        target=lambda: asyncio.run(_hold_streams(load)), name="streams", daemon=True
    ).start()
    headers = {"Authorization": f"Bearer {load.key}"}
    transport = httpx.HTTPTransport(local_address=OWN_ADDRESS)
    with httpx.Client(
        base_url=f"http://{load.host}:{load.port}", headers=headers, transport=transport, timeout=60
    ) as client:
        while True:
            time.sleep(RENAME_EVERY_S)
            name = {"name": f"Renamed {time.time_ns()}"}
            try:
                answer = client.patch(f"/v1/integrations/{load.integration_id}", json=name)
                answers[f"PATCH {answer.status_code}"] += 1
            except httpx.TransportError as error:
                answers[f"PATCH {type(error).__name__}"] += 1


async def _hold_streams(load: Load) -> None:
    await asyncio.gather(*(_hold_stream(load) for _ in range(STREAMS)))


async def _hold_stream(load: Load) -> None:
    request = f"GET /v1/integrations/events HTTP/1.1\r\nHost: {load.host}\r\n"
    request += f"Authorization: Bearer {load.key}\r\n\r\n"
    while True:
        try:
            reader, writer = await asyncio.open_connection(
                load.host, load.port, local_addr=(OWN_ADDRESS, 0)
            )
            writer.write(request.encode())
            head = await reader.readline()
            answers[f"stream {head[9:12].decode() or 'closed'}"] += 1
            while await reader.read(65_536):
                pass
            writer.close()
        except OSError as error:
            answers[f"stream {type(error).__name__}"] += 1
        await asyncio.sleep(REOPEN_S)


def _start_threads(count: int, work: Callable[[], None]) -> None:
    for _ in range(count):
        threading.Thread(target=work, daemon=True).start()


def _finish(*_: object) -> None:
    print(json.dumps(answers), flush=True)
    os._exit(0)  # threads may be inside a call of a minute


WORKS: dict[str, Callable[[Load], None]] = {
    work.__name__: work for work in (append_campaign, send_long_texts, send_bodies, open_streams)
}


def main() -> None:
    load = Load.model_validate_json(os.environ[VARIABLE])
    signal.signal(signal.SIGTERM, _finish)
    WORKS[load.work](load)
    _finish()


if __name__ == "__main__":
    main()

"""CPU cost of a request over each transport.

`python -m bench.transport [--requests N] [--no-fail]`. All transports post the body of a text
message, in turns within a run, over keep-alive to a server in another process, through
httpx.Client. The last row is the platform's client as a whole. Figures: microseconds of this
process's CPU per request, requests per second, and both relative to httpx's own transport. Exits
with 1 when the default transport ("direct") is not cheaper than httpx's. pyreqwest takes part where
it is installed.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from bench.kept import figure_file
from bench.kept.figure_file import KeptFigure
from shared.http.transports import KEEPALIVE_S, MAX_CONNECTIONS, DirectTransport, PooledTransport
from shared.platform import endpoints
from shared.platform.http import PlatformHttp

ROUNDS = 5
THREADS = (1, 16, 64)
BODY = {
    "type": "text",
    "to": "79990001122",
    "text": "Hello, this is your appointment tomorrow at 10:30.",
}
BODY_BYTES = b'{"taskId":"task_7","status":"queued"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY_BYTES),
    BODY_BYTES,
)
Post = Callable[[], object]


class AnsweringProtocol(asyncio.Protocol):
    """Answers every request; its body arrives in a single piece, with the head or after it."""

    def __init__(self) -> None:
        self.seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.seen += data
        if self.seen.endswith(b"}"):
            self.seen = b""
            self.transport.write(ANSWER)  # type: ignore[attr-defined] # a TCP transport


def serve(port: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(
            AnsweringProtocol, "127.0.0.1", 0, backlog=512
        )
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def answering_server() -> Iterator[str]:
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe()
    process = spawn.Process(target=serve, args=(sender,), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{receiver.recv()}"
    process.terminate()
    process.join()


def build_candidates(url: str) -> dict[str, Post]:
    limits = httpx.Limits(
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=MAX_CONNECTIONS,
        keepalive_expiry=KEEPALIVE_S,
    )
    transports: dict[str, httpx.BaseTransport] = {
        "httpx": httpx.HTTPTransport(limits=limits),
        "pooled": PooledTransport(MAX_CONNECTIONS, KEEPALIVE_S),
        "direct": DirectTransport(),
    }
    if find_spec("pyreqwest"):
        from pyreqwest.compatibility.httpx import SyncHttpxTransport  # noqa: PLC0415

        transports["pyreqwest"] = SyncHttpxTransport()
    found = {
        name: build_post(httpx.Client(transport=transport, timeout=20), url)
        for name, transport in transports.items()
    }
    http = PlatformHttp(url, DirectTransport(), 20)
    no_auth = httpx.Auth()
    return found | {"the platform client": lambda: http.request(endpoints.TEXT, no_auth, BODY)}


def build_post(client: httpx.Client, url: str) -> Post:
    def post() -> object:
        response = client.post(
            f"{url}/api/messages/text", json=BODY, headers={"Authorization": "Bearer token"}
        )
        assert response.status_code == 200
        return response.json()

    return post


def measure(post: Post, threads: int, requests: int) -> tuple[float, float]:
    """Return CPU seconds and wall-clock seconds per request."""
    each = requests // threads

    def run() -> None:
        for _ in range(each):
            post()

    running = [threading.Thread(target=run) for _ in range(threads)]
    cpu = time.process_time()
    wall = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return (time.process_time() - cpu) / (each * threads), (time.perf_counter() - wall) / (
        each * threads
    )


def report(threads: int, rounds: list[dict[str, tuple[float, float]]]) -> KeptFigure:
    """Print the figures for `threads`; return the CPU of a request, "direct" beside httpx's."""
    print(f"\n{threads} threads            CPU µs    beside httpx    requests/s    beside httpx")
    ratios = {}
    for name in rounds[0]:
        cpu = statistics.median(found[name][0] for found in rounds)
        wall = statistics.median(found[name][1] for found in rounds)
        ratios[name] = statistics.median(found[name][0] / found["httpx"][0] for found in rounds)
        wall_ratio = statistics.median(found["httpx"][1] / found[name][1] for found in rounds)
        print(
            f"{name:22} {cpu * 1e6:8.0f} {ratios[name]:14.2f}x {1 / wall:13.0f} {wall_ratio:14.2f}x"
        )
    cpu_us = {
        side: 1e6 * statistics.median(found[name][0] for found in rounds)
        for side, name in (("ours", "direct"), ("httpx", "httpx"))
    }
    missed = ratios["direct"] >= 1
    return KeptFigure(f"a request, {threads} threads", "µs CPU", cpu_us, missed=missed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument(
        "--no-fail", action="store_true", help="exit with 0 whatever the figures are"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    figures = []
    with answering_server() as url:
        posts = build_candidates(url)
        for threads in THREADS:
            for post in posts.values():
                measure(post, threads, 5 * threads)
            rounds = [
                {name: measure(post, threads, arguments.requests) for name, post in posts.items()}
                for _ in range(ROUNDS)
            ]
            figures.append(report(threads, rounds))
    if arguments.json:
        figure_file.write(arguments.json, figures)
    if not arguments.no_fail and (missed := [each.name for each in figures if each.missed]):
        sys.exit(f"direct takes no less CPU than httpx: {', '.join(missed)}")


if __name__ == "__main__":
    main()

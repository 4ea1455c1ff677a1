"""Load generator: `python -m bench.webhook_load.load URL [options]`, in a process of its own.

All events differ. Without --rate, each connection posts its next event after the last answer. With
it, events are due at fixed times, and an answer is measured from the time when its event was due:
a server that stalls delays all events that are due meanwhile.

Prints {"rate", "failed", "small": [p50, p99], "large": [p50, p99]}, times in ms.
"""

import argparse
import asyncio
import json
import os
import time
from urllib.parse import urlsplit

import uvloop

from bench.engine_sides.figures import percentile
from sandbox.ports import LOCALHOST

LARGE = b"/9j/4AAQ" + b"A" * (5 << 20)


class Poster(asyncio.Protocol):
    """A connection that posts events in sequence."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[bool] | None = None
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if self._answer and self._seen.endswith(b"}"):
            self._answer.set_result(self._seen.startswith(b"HTTP/1.1 2"))
            self._answer, self._seen = None, b""

    def connection_lost(self, _error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(False)

    async def post(self, *pieces: bytes) -> bool:
        """Return whether it was accepted."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.writelines(pieces)  # type: ignore[attr-defined] # a TCP transport
        return await self._answer


class LoadGenerator:
    """Posts `events` to `url`; every `large_every`th event holds a file of 5 MB."""

    def __init__(self, url: str, events: int, large_every: int) -> None:
        self.url, self.events, self.large_every = urlsplit(url), events, large_every
        self.next = 0
        self.latencies: dict[str, list[float]] = {"small": [], "large": []}
        self.failed = 0

    async def run(self, connections: int, rate: float | None) -> dict[str, object]:
        loop = asyncio.get_running_loop()
        posters = [
            (
                await loop.create_connection(
                    Poster, self.url.hostname or LOCALHOST, self.url.port or 80
                )
            )[1]
            for _ in range(connections)
        ]
        began = time.monotonic()
        await asyncio.gather(*(self._post_events(poster, began, rate) for poster in posters))
        took = time.monotonic() - began
        return {
            "rate": (self.events - self.failed) / took,
            "failed": self.failed,
            **{
                size: [percentile(times, 0.5) * 1000, percentile(times, 0.99) * 1000]
                if times
                else []
                for size, times in self.latencies.items()
            },
        }

    async def _post_events(self, poster: Poster, began: float, rate: float | None) -> None:
        while self.next < self.events:
            number, self.next = self.next, self.next + 1
            due = began + number / rate if rate else time.monotonic()
            if (wait_s := due - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            is_large = bool(self.large_every) and number % self.large_every == self.large_every - 1
            self.failed += not await poster.post(*self._request(number, large=is_large))
            self.latencies["large" if is_large else "small"].append(time.monotonic() - due)

    def _request(self, number: int, *, large: bool) -> tuple[bytes, ...]:
        start = (
            b'{"account":"0000000000042","from":"+7999%07d","type":"%b",'
            b'"text":"Good morning! When is the next '
            % (
                number % 5000,
                b"image" if large else b"chat",
            )
        )
        start += b'lesson, please?","messageId":"false_3EB0%d%016x","timestamp":1770000000' % (
            os.getpid(),
            number,
        )
        pieces = (
            (start, b',"media":{"mimetype":"image/jpeg","base64":"', LARGE, b'"}}')
            if large
            else (start, b"}")
        )
        length = sum(map(len, pieces))
        head = (
            f"POST {self.url.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n"
        )
        return (head.encode() + pieces[0], *pieces[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--large-every", type=int, default=0)
    parser.add_argument("--rate", type=float)
    given = parser.parse_args()
    load = LoadGenerator(given.url, given.events, given.large_every)
    print(json.dumps(uvloop.run(load.run(given.connections, given.rate))))


if __name__ == "__main__":
    main()

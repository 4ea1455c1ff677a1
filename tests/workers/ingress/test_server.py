"""The HTTP server wakes rarely, and stops at once."""

import asyncio
import signal
import time
from typing import Any

import httpx
import uvicorn

from sandbox.ports import LOCALHOST, free_port
from workers.ingress.server import QuietServer


class CountedServer(QuietServer):
    ticks = 0

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_ticked = asyncio.Event()
        """It listens since before its first tick."""

    async def on_tick(self, counter: int) -> bool:
        self.ticks += 1
        self.has_ticked.set()
        return await super().on_tick(counter)


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


def make_server() -> CountedServer:
    config = uvicorn.Config(
        answer, host=LOCALHOST, port=free_port(), lifespan="off", log_config=None, ws="none"
    )
    return CountedServer(config)


def test_it_ticks_once_a_second_and_renews_the_date() -> None:
    server = make_server()

    async def serve() -> float:
        began_s = time.monotonic()
        serving = asyncio.create_task(server._serve())  # noqa: SLF001 - `serve` takes the signals
        address = f"http://{LOCALHOST}:{server.config.port}"
        async with httpx.AsyncClient(trust_env=False) as client:
            await server.has_ticked.wait()
            first = (await client.get(address)).headers["date"]
            await asyncio.sleep(1.5)
            assert (await client.get(address)).headers["date"] != first
        server.handle_exit(signal.SIGTERM, None)
        await serving
        return time.monotonic() - began_s

    took_s = asyncio.run(serve())
    assert 2 <= server.ticks - 1 <= took_s + 1, "one more when it stops"


def test_a_stop_signal_ends_the_pause_between_two_ticks() -> None:
    server = make_server()
    server.pause_s = 60

    async def stop() -> None:
        await server.has_ticked.wait()
        await asyncio.sleep(0.5)  # it pauses
        server.handle_exit(signal.SIGTERM, None)

    async def serve() -> None:
        await asyncio.wait_for(asyncio.gather(server._serve(), stop()), 20)  # noqa: SLF001

    asyncio.run(serve())
    assert server.ticks == 2


def test_a_stop_signal_during_the_start_ends_it() -> None:
    server = make_server()
    server.handle_exit(signal.SIGTERM, None)
    asyncio.run(asyncio.wait_for(server._serve(), 10))  # noqa: SLF001
    assert server.ticks == 0

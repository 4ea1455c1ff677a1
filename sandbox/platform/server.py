"""The platform running in a thread of this process, for tests."""

import asyncio
import socket
import threading
import time
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from sandbox.platform.app import create_app
from sandbox.platform.settings import Settings

READY_WITHIN_S = 10.0


class _Server(uvicorn.Server):
    async def main_loop(self) -> None:
        """Look ten times as often as uvicorn whether it is time to go: tests start and stop many."""
        counter = 0
        while not await self.on_tick(counter // 10):
            counter += 1
            await asyncio.sleep(0.01)


class ThreadedServer:
    """Any ASGI app on 127.0.0.1, on a port of its own, inside a `with` block."""

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            app, access_log=False, log_level="warning", timeout_graceful_shutdown=1
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        give_up = time.monotonic() + READY_WITHIN_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > give_up:
                msg = "the server did not start; its log says why"
                raise RuntimeError(msg)
            time.sleep(0.005)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


class PlatformServer(ThreadedServer):
    """The played platform; `options` are those of `Settings`. To restart it, enter another one on the same port."""

    def __init__(self, port: int = 0, **options: Any) -> None:
        super().__init__(create_app(Settings(**options)), port)

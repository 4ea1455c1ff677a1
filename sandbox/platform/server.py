"""The platform's sandbox in a thread of this process, for tests."""

import asyncio
import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from sandbox.platform.app import create_app
from sandbox.platform.settings import Settings

READY_WITHIN_S = 10.0


class _Server(uvicorn.Server):
    """uvicorn without the pauses of 0.1 s at its end: tests start and stop many servers."""

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter // 10):
            counter += 1
            await asyncio.sleep(0.01)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        await self._close_connections()
        with suppress(TimeoutError):
            await asyncio.wait_for(
                self._wait_tasks_to_complete(), self.config.timeout_graceful_shutdown
            )
        for task in self.server_state.tasks:
            task.cancel()
        await self._close_connections()
        await self.lifespan.shutdown()

    async def _close_connections(self) -> None:
        """Close connections for at most 0.25 s, those accepted at the last moment included.

        A connection that is open when the loop closes is an error of the loop.
        """
        for _ in range(50):
            await asyncio.sleep(0.005)
            if not self.server_state.connections:
                break
            for connection in list(self.server_state.connections):
                connection.shutdown()


class ThreadedServer:
    """Any ASGI app on 127.0.0.1 inside a `with` block; without `port` on a free port."""

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
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                msg = "the server did not start; its log has the reason"
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
    """The platform's sandbox with `options` of `Settings`.

    To restart it, enter another instance on the same port.
    """

    def __init__(self, port: int = 0, **options: Any) -> None:
        super().__init__(create_app(Settings(**options)), port)

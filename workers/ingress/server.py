"""The HTTP server of the ingress: uvicorn, which wakes once a second instead of ten times."""

import asyncio
from contextlib import suppress
from types import FrameType

import uvicorn


class QuietServer(uvicorn.Server):
    """Serves until a stop signal, which ends the pause between two ticks."""

    pause_s = 1.0
    """A tick renews the date of the answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    async def main_loop(self) -> None:
        """Tick until told to stop."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):  # at counts that ten divides, it renews the date
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self.pause_s)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop: uvicorn's handler of stop signals."""
        super().handle_exit(sig, frame)
        if self._loop:  # else it has not begun to tick
            self._loop.call_soon_threadsafe(self._stopped.set)

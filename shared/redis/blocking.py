"""Connections that wait for the reply of a blocking command for as long as it may block.

redis-py takes `socket_timeout` of silence for a dead connection, also after a command that asks
Redis to be silent: no client could block for longer.
"""

from typing import Any

BLOCKING = "BLPOP"


class WaitWhileBlocked:
    """A mixin for a connection class of `redis.connection`.

    A connection counts as dead when the reply of BLPOP is `socket_timeout` late.
    """

    _blocks_s = 0.0

    def send_command(self, *args: Any, **options: Any) -> None:
        self._blocks_s = 0.0  # sending may connect, which reads replies of its own
        super().send_command(*args, **options)  # type: ignore[misc]
        if args[0] == BLOCKING:
            self._blocks_s = float(args[-1])

    def read_response(self, *args: Any, **options: Any) -> Any:
        blocks_s, self._blocks_s = self._blocks_s, 0.0
        silence_s: float | None = self.socket_timeout  # type: ignore[attr-defined]
        if blocks_s and silence_s is not None:
            options["timeout"] = blocks_s + silence_s
        return super().read_response(*args, **options)  # type: ignore[misc]

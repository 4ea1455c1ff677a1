"""A lock per folder of a local world."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sandbox.errors import SandboxError


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Hold a lock in `directory` until the block ends; the kernel releases it with the process.

    Raises:
        SandboxError: another process holds the lock.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read() or "unknown"
            msg = f"the local world in {directory} is already running (pid {pid})"
            raise SandboxError(msg) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield

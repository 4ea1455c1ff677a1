"""A file may take longer than a lease: it is renewed while somebody waits for the file, whatever they wait for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis
import structlog

from shared.errors import LeaseLostError
from shared.lanes.client import Claim, Lanes

RENEW_EVERY_S = 5.0

log = structlog.get_logger()


class Lease:
    """A claim that stays ours until `lost`."""

    def __init__(self, claim: Claim, lanes: Lanes) -> None:
        self._claim, self._lanes = claim, lanes
        self._lost, self._done = threading.Event(), threading.Event()

    def check(self) -> None:
        """Stop here when it is lost, with TakenOverError."""
        if self._lost.is_set():
            raise LeaseLostError

    def renew(self) -> None:
        """Make sure of it now, before something that takes time; raises as `check` does."""
        if not self._lanes.extend(self._claim):
            self._lost.set()
        self.check()

    def keep(self) -> None:
        """Renew it until it is lost or let go. A Redis that is away may be back before it has ended."""
        while not self._done.wait(RENEW_EVERY_S) and not self._lost.is_set():
            try:
                self.renew()
            except LeaseLostError:
                return
            except redis.RedisError as error:
                log.warning("lease.not_renewed", error=type(error).__name__)

    def let_go(self) -> None:
        self._done.set()


@contextmanager
def hold_lease(claim: Claim, lanes: Lanes) -> Iterator[Lease]:
    """Hold a claim for as long as it takes."""
    lease = Lease(claim, lanes)
    keeping = threading.Thread(target=lease.keep, name="lease", daemon=True)
    keeping.start()
    try:
        yield lease
    finally:
        lease.let_go()
        keeping.join()

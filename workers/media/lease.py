"""Renew the lease of a claim while its file is fetched, which may take longer than a lease."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis
import structlog

from shared.errors import LeaseLostError
from shared.lanes.client import Lanes
from shared.lanes.types import Claim

RENEW_EVERY_S = 5.0

log = structlog.get_logger()


class Lease:
    """The lease of a claim. It ends when the claim passes to another worker."""

    def __init__(self, claim: Claim, lanes: Lanes) -> None:
        self._claim = claim
        self._lanes = lanes
        self._lost = threading.Event()
        self._released = threading.Event()

    def check(self) -> None:
        """Return while the lease is held.

        Raises:
            LeaseLostError: the claim has passed to another worker.
        """
        if self._lost.is_set():
            raise LeaseLostError

    def renew(self) -> None:
        """Renew the lease now.

        Raises:
            LeaseLostError: the claim has passed to another worker.
        """
        if not self._lanes.extend(self._claim):
            self._lost.set()
        self.check()

    def run_renewals(self, every_s: float) -> None:
        """Renew the lease periodically until it is lost or released.

        After an error of Redis it tries again: Redis may be back before the lease ends.
        """
        while not self._released.wait(every_s) and not self._lost.is_set():
            try:
                self.renew()
            except LeaseLostError:
                return
            except redis.RedisError as error:
                log.warning("lease.renewal_failed", error=type(error).__name__)

    def release(self) -> None:
        """End the renewals."""
        self._released.set()


@contextmanager
def hold_lease(claim: Claim, lanes: Lanes, renew_every_s: float = RENEW_EVERY_S) -> Iterator[Lease]:
    """Renew the lease of a claim, in a thread of its own, until the block ends."""
    lease = Lease(claim, lanes)
    thread = threading.Thread(
        target=lease.run_renewals, args=(renew_every_s,), name="lease", daemon=True
    )
    thread.start()
    try:
        yield lease
    finally:
        lease.release()
        thread.join()

"""The claims of one queue in one worker process."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import uuid4

import redis
import structlog
from dramatiq import Message, MessageProxy
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from shared.lanes import wire
from shared.lanes.capacity import Capacity
from shared.lanes.client import Lanes
from shared.lanes.codec import Codec
from shared.lanes.message import LaneMessage
from shared.lanes.types import Claim, ClaimResult, ClaimSequence, Exchange, Postponed, Settled
from shared.redis import is_transient

MAX_CLAIMS = 32
"""Claims, or results, of one request: Redis does nothing else meanwhile."""
CONCLUDE_RETRY_S = 120.0
"""How long a result is offered to a Redis that is away: it may be all that is known of a send."""
UNDECODABLE = "(undecodable)"
"""Name of the actor of messages that cannot be decoded: there is none, so they are rejected."""

log = structlog.get_logger(__name__)


class _Result:
    """The end of one claim, as JSON, on its way to Redis."""

    __slots__ = ("claim", "concluded", "end", "text")

    def __init__(self, claim: Claim, end: ClaimResult | None, text: str) -> None:
        self.claim = claim
        self.end = end
        self.text = text
        self.concluded = False


class ClaimExchange:
    """Claims events for free threads, concludes them, and claims the next ones with the results.

    Threads that acknowledge at the same time share a round trip: while one is under way, results
    gather; then one thread sends them all, and claims as many events as threads become free.
    """

    def __init__(
        self,
        lanes: Lanes,
        queue: str,
        codec: Codec,
        capacity: Capacity,
        hand_over: Callable[[MessageProxy], None],
    ) -> None:
        self.lanes = lanes
        self.queue = queue
        self.capacity = capacity
        self.ready: deque[LaneMessage] = deque()
        """Claimed, and not yet with a worker thread."""
        self.more = True
        """The last request for claims got all that it asked for."""
        self.replies = 0
        self._process = uuid4().hex
        self._codec = codec
        self._hand_over = hand_over
        self._results: deque[_Result] = deque()
        self._round_trip = threading.Lock()
        self._with_results = ClaimSequence()
        self._for_free_threads = ClaimSequence()

    def register(self, threads: int) -> None:
        """Say how many threads this process has for the queue."""
        self.lanes.register(self.queue, self._process, threads)
        self.replies += 1

    def await_bell(self, timeout_s: float) -> bool:
        """Block until a lane becomes ready; False when `timeout_s` is over, or `wake` is called."""
        rung = self.lanes.await_bell(self.queue, timeout_s, self._process)
        self.replies += 1
        return rung

    def wake(self) -> None:
        """End the wait of `await_bell`; it is called from another thread."""
        self.lanes.wake(self._process)

    def claim(self, most: int) -> None:
        """Claim events for the free threads, up to `most`; they are in `ready` then."""
        count = self.capacity.take(self.queue, min(most, MAX_CLAIMS))
        claims: Sequence[Claim] = ()
        try:
            if count:
                found = self.lanes.exchange(self.queue, self._for_free_threads, count)
                self.replies += 1
                self.more = found.more
                claims = found.claims
        finally:
            self.capacity.give_back(self.queue, count - len(claims))
        self.ready.extend(map(self._message, claims))

    def acknowledge(self, message: LaneMessage) -> None:
        """Conclude the claim of a message, and hand the next messages to the worker threads.

        Raises:
            redis.RedisError: Redis has been away for `CONCLUDE_RETRY_S`, or refuses this result.
        """
        text = message.result or self._default_result(message)
        if text is None:  # its effect is unknown: the sweeper concludes it when the lease ends
            self.capacity.give_back(self.queue, 1)
            return
        result = _Result(message.claim, message.end, text)
        self._results.append(result)
        try:
            self._conclude(result)
        except redis.RedisError as error:
            if not is_transient(error):  # Dramatiq does not ask again
                self.capacity.give_back(self.queue, 1)
            raise

    def _conclude(self, result: _Result) -> None:
        while not result.concluded:
            time.sleep(0)  # threads that are about to conclude join the group
            with self._round_trip:
                claims = self._conclude_group(result)
            for claim in claims:
                self._hand_over(self._message(claim))

    def hand_back(self, messages: Iterable[LaneMessage]) -> None:
        """Return claims whose actors have not begun: they stay at the heads of their lanes."""
        results = [
            wire.dump_result(
                each.claim,
                Postponed(0, each.claim.reason, unstarted=True),
                self.lanes.settings,
            )
            for each in messages
        ]
        if results:
            self.lanes.exchange(self.queue, ClaimSequence(), 0, results)
            self.capacity.give_back(self.queue, len(results))

    def _default_result(self, message: LaneMessage) -> str | None:
        """Return the result of an actor that named none: done, or what the codec says of errors."""
        error = message.error
        if not message.failed and error is None:
            message.conclude_with(Settled("done"))
        elif failed := self._codec.failed(message.claim, error):
            message.conclude_with(failed)
        return message.result

    def _conclude_group(self, own: _Result) -> list[Claim]:
        """Conclude the results that wait now, and claim for their threads.

        A group that Redis refuses is concluded result by result, so that each has its own error.
        """
        if own.concluded:
            return []
        group = [self._results.popleft() for _ in range(min(len(self._results), MAX_CLAIMS))]
        try:
            found = self._exchange(group)
        except redis.RedisError as error:
            others = [result for result in group if result is not own]
            self._results.extendleft(reversed(others))
            if is_transient(error) or not others:
                raise
            group = [own]
            found = self._exchange(group)
        self.replies += 1
        for result, counted, run in zip(group, found.counted, found.run, strict=True):
            result.concluded = True
            if counted:
                self._tell(result, run)
            else:
                about = {"event_id": str(result.claim.id), "lane": result.claim.lane}
                log.warning("claim.lost", **about)
        self.capacity.give_back(self.queue, len(group) - len(found.claims))
        return found.claims

    def _tell(self, result: _Result, run: int) -> None:
        """Tell of the end of a claim, and of the events behind it that ended with it."""
        if result.end:
            self.lanes.on_concluded(result.claim, result.end)
        if isinstance(result.end, Settled):
            for claim, end in result.end.run[:run]:
                self.lanes.on_concluded(claim, end)

    def _exchange(self, group: Sequence[_Result]) -> Exchange:
        stay = self.capacity.stopping or self.capacity.wanted_beside(self.queue)
        count = 0 if stay else len(group)
        texts = [result.text for result in group]
        try:
            found = self.lanes.exchange(self.queue, self._with_results, count, texts)
        except redis.RedisError as error:
            if not is_transient(error):
                raise
            found = self._retry(count, texts)
        self.more = found.more or stay
        return found

    def _retry(self, count: int, texts: Sequence[str]) -> Exchange:
        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random(0.1, 0.5),
            stop=stop_after_delay(CONCLUDE_RETRY_S),
            before_sleep=_log_retry,
            reraise=True,
        )
        return retrying(self.lanes.exchange, self.queue, self._with_results, count, texts)

    def _message(self, claim: Claim) -> LaneMessage:
        error = None
        message: Message[Any]
        try:
            message = self._codec.decode(claim)
        except Exception as undecodable:  # noqa: BLE001 - `Codec.failed` says what becomes of it
            error = undecodable
            message = Message(self.queue, UNDECODABLE, (), {}, {})
        if message.queue_name != self.queue:  # a worker thread looks for its consumer by this name
            message = message.copy(queue_name=self.queue)
        return LaneMessage(message, claim, self.lanes.settings, error)


def _log_retry(state: Any) -> None:
    log.warning("redis.away", error=str(state.outcome.exception()))

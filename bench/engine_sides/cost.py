"""CPU for one sent message: our whole path beside a bare Dramatiq actor that posts the same body.

Ours: accepted into its lane, claimed, posted with its token within a deadline, settled, appended
to the outbox, recorded in batches. Counted: user and system time of every worker process (send,
record, clock), and all of Redis. The bare actor: the stock broker, a single httpx.Client with
httpx's own transport for all threads, and no record of the result. The platform and Supabase are
a stand-in (`answers.py`) that is not counted.

The target holds for the first load, a saturated worker. At 100 messages a second each message
wakes a sleeping thread, and pays for each round trip with a wait and an fsync of its own.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from uuid import uuid4

from dramatiq.brokers.redis import RedisBroker
from dramatiq.message import Message as Enqueued

from bench.engine_sides.answers import INTEGRATIONS, NUMBERS
from bench.engine_sides.figures import Figure
from bench.engine_sides.place import Place, procfile, wait_until
from bench.engine_sides.played import Played, playing
from shared.events import Message
from shared.producer import Producer
from shared.redis import keys
from shared.route_cache import IntegrationRoute, RouteCache

ROUNDS = 4
PEERS = 15
TEXT = "Hello, this is your appointment tomorrow at 10:30."
THREADS = 32
"""As in the Procfile."""


@dataclass(frozen=True)
class Load:
    """`per_s`: messages a second, 0 for all at once. `late_ms`: delay of the platform's answer.

    `binding`: ours has to cost no more than the bare actor.
    """

    name: str
    messages: int
    per_s: int = 0
    late_ms: int = 0
    binding: bool = False


LOADS = (
    Load("600 at once", 600, late_ms=50, binding=True),
    Load("600 at once, answered at once", 600),
    Load("100/s", 200, per_s=100, late_ms=50),
)
REHEARSAL = Load("rehearsal", 300)


@dataclass
class Ours:
    place: Place

    def start(self) -> None:
        routes = [IntegrationRoute.model_validate(each) for each in INTEGRATIONS]
        RouteCache(self.place.redis, database=None).store_routes(routes)
        for name in ("send", "record", "clock"):
            self.place.start(procfile()[name])

    def put(self, number: int) -> None:
        integration, peer = NUMBERS[number % len(NUMBERS)], number // len(NUMBERS) % PEERS
        message = Message(to=f"+7999000{peer:04}", text=TEXT, integration_id=integration)
        self._producer.send(integration, message, uuid4().hex)

    def waiting(self) -> bool:
        return bool(
            self.place.redis.exists(keys.waiting("send")) or self.place.redis.xlen(keys.OUTBOX)
        )

    @cached_property
    def _producer(self) -> Producer:
        return Producer.connect(self.place.server.url)


@dataclass
class Bare:
    place: Place

    def start(self) -> None:
        self.place.start(
            f"dramatiq bench.engine_sides.stock_worker -Q post -p 1 -t {THREADS} --skip-logging"
        )

    def put(self, number: int) -> None:
        body = {"type": "text", "to": f"7999000{number // len(NUMBERS) % PEERS:04}", "text": TEXT}
        self._broker.enqueue(
            Enqueued(queue_name="post", actor_name="post", args=(body,), kwargs={}, options={})
        )

    def waiting(self) -> bool:
        return bool(self.place.redis.exists("dramatiq:post.msgs"))

    @cached_property
    def _broker(self) -> RedisBroker:
        broker = RedisBroker(url=self.place.server.url)
        broker.declare_queue("post")
        return broker


def costs() -> list[Figure]:
    with (
        playing() as played,
        Place(**played.environment) as here,
        Place(**played.environment) as there,
    ):
        sides: dict[str, Ours | Bare] = {"ours": Ours(here), "stock": Bare(there)}
        for side in sides.values():
            side.start()
            cost_us(side, played, REHEARSAL)
        rounds = [
            {
                (load, name): cost_us(side, played, load)
                for load in LOADS
                for name, side in sides.items()
            }
            for _ in range(ROUNDS)
        ]
    return [figure for load in LOADS for figure in _figures(load, rounds)]


def _figures(load: Load, rounds: list[dict[tuple[Load, str], tuple[float, float]]]) -> list[Figure]:
    def middle(side: str, what: Callable[[tuple[float, float]], float]) -> float:
        return statistics.median(what(found[load, side]) for found in rounds)

    ours, stock = middle("ours", sum), middle("stock", sum)
    ours_redis, stock_redis = middle("ours", itemgetter(1)), middle("stock", itemgetter(1))
    return [
        Figure(f"CPU a message, {load.name}", "µs", ours, stock, stock if load.binding else None),
        Figure("  of it Redis", "µs", ours_redis, stock_redis),
    ]


def cost_us(side: Ours | Bare, played: Played, load: Load) -> tuple[float, float]:
    """Return µs of CPU a message, of the workers and of Redis."""
    played.answer_after(load.late_ms)
    sent, before = played.sent, side.place.cpu_s()
    began = time.monotonic()
    for number in range(load.messages):
        if load.per_s:
            time.sleep(max(0.0, began + number / load.per_s - time.monotonic()))
        side.put(number)
    assert wait_until(lambda: not side.waiting())
    after = side.place.cpu_s()
    arrived = played.sent - sent
    assert arrived == load.messages, (
        f"{type(side).__name__}, {load.name}: {arrived} of {load.messages} messages arrived"
    )
    workers, redis = (
        1e6 * (late - early) / load.messages for early, late in zip(before, after, strict=True)
    )
    return workers, redis

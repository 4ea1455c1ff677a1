"""Measure how many messages a second a service enqueues, beside Dramatiq's `actor.send`.

`python -m bench.producer [--messages 1000] [--rounds 7] [--no-fail]`. Both in turns within a run,
each on its own durable Redis: ours with `send_many` over as many lanes as messages, sync and async,
and one by one; the stock broker with `actor.send`, one by one, with the same fields as arguments.
The messages exist before the clock starts. Each round begins with an empty Redis; afterwards it has
to hold every message. The figures are medians. Exits with 1 when a target is missed.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.engine_sides.figures import Figure, table
from bench.engine_sides.place import Place
from bench.kept import figure_file
from shared.events import Message
from shared.producer import AsyncProducer, Producer, SendOutcome
from shared.redis import keys
from shared.route_cache import IntegrationRoute, RouteCache

ORGANIZATION = uuid4()
TARGET = 20_000.0
TIMES = 5.0


def make_messages(count: int) -> list[Message]:
    return [
        Message(to=f"+7999{n:07}", text="Hello, this is your appointment tomorrow at 10:30.")
        for n in range(count)
    ]


def prepare(place: Place) -> None:
    """Empty a Redis; the primary number of the organization is known to it."""
    place.redis.flushall()
    route = IntegrationRoute(
        id=uuid4(),
        organization_id=ORGANIZATION,
        name="Bench",
        account="42",
        is_primary=True,
        is_enabled=True,
    )
    RouteCache(place.redis, database=None).store_routes([route])


def check(place: Place, count: int) -> None:
    waiting = sum(map(int, place.redis.hvals(keys.waiting("send"))))
    assert waiting == count, f"{waiting} of {count} messages wait"


def send_many(place: Place, messages: Sequence[Message]) -> float:
    with Producer.connect(place.server.url) as producer:
        producer.send(ORGANIZATION, messages[0])  # connects, and loads the script
        prepare(place)
        began = time.perf_counter()
        producer.send_many(ORGANIZATION, messages)
        taken_s = time.perf_counter() - began
    check(place, len(messages))
    return len(messages) / taken_s


def send_many_async(place: Place, messages: Sequence[Message]) -> float:
    async def send() -> float:
        async with AsyncProducer.connect(place.server.url) as producer:
            await producer.send(ORGANIZATION, messages[0])
            prepare(place)
            began = time.perf_counter()
            outcomes: list[SendOutcome] = await producer.send_many(ORGANIZATION, messages)
            assert not [each for each in outcomes if isinstance(each, Exception)]
            return time.perf_counter() - began

    taken_s = asyncio.run(send())
    check(place, len(messages))
    return len(messages) / taken_s


def send_singly(place: Place, messages: Sequence[Message]) -> float:
    with Producer.connect(place.server.url) as producer:
        producer.send(ORGANIZATION, messages[0])
        prepare(place)
        began = time.perf_counter()
        for message in messages:
            producer.send(ORGANIZATION, message)
        taken_s = time.perf_counter() - began
    check(place, len(messages))
    return len(messages) / taken_s


def send_stock(place: Place, messages: Sequence[Message]) -> float:
    place.redis.flushall()
    broker = RedisBroker(url=place.server.url)

    def send(organization_id: str, **fields: Any) -> None:
        """Never run: there is no worker."""

    actor = dramatiq.actor(broker=broker)(send)
    arguments = [message.model_dump(mode="json", exclude_none=True) for message in messages]
    actor.send(str(ORGANIZATION), **arguments[0])
    began = time.perf_counter()
    for fields in arguments:
        actor.send(str(ORGANIZATION), **fields)
    taken_s = time.perf_counter() - began
    waiting = place.redis.llen("dramatiq:default")
    assert waiting == len(messages) + 1, f"{waiting} messages wait"
    broker.close()
    return len(messages) / taken_s


def measure(count: int, rounds: int) -> list[Figure]:
    """Return the rates of each way, from rounds in turns."""
    messages = make_messages(count)
    ways: dict[str, Callable[[Place, Sequence[Message]], float]] = {
        "send_many": send_many,
        "send_many, asyncio": send_many_async,
        "send, one by one": send_singly,
        "stock": send_stock,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with Place() as ours, Place() as stock:
        for place in (ours, stock):
            prepare(place)
        for _ in range(rounds):
            for name, way in ways.items():
                rates[name].append(way(stock if name == "stock" else ours, messages))
    beside = statistics.median(rates.pop("stock"))
    return [
        Figure(
            name,
            "msgs/s",
            statistics.median(found),
            beside,
            target=max(TARGET, TIMES * beside) if "many" in name else None,
            more=True,
        )
        for name, found in rates.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000, help="messages of a batch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--no-fail", action="store_true", help="exit with 0 whatever the figures are"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    figures = measure(arguments.messages, arguments.rounds)
    print(table(figures))
    print(f"load after: {os.getloadavg()[0]:.1f}")
    if arguments.json:
        figure_file.write(arguments.json, figures)
    if not arguments.no_fail:
        sys.exit(any(figure.missed for figure in figures))


if __name__ == "__main__":
    main()

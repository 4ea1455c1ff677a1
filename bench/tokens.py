"""One token for a cold fleet: our single flight beside redis-py's Lock, in turns within one run.

`python -m bench.tokens [--processes 8 --threads 16 --rounds 5]`. All threads of all processes need the token of the
same account at the same moment; the mint takes 300 ms. What counts: how many mints there were, and how long after the
mint has landed each thread holds the token. Beside it, what a token costs when it is there.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import redis
import structlog
from pydantic import SecretStr

from sandbox.redis import RedisServer
from shared.tokens import TokenCache
from shared.tokens.store import Kept, Minted, Token

MINT_S = 0.3
Get = Callable[[str], object]
Note = Callable[[str], None]
fork = multiprocessing.get_context("fork")


class Keys:
    """A store that has keys, and no tokens."""

    def load(self, account: str) -> Kept:
        return Kept(SecretStr(account))

    def save(self, account: str, token: Token) -> None:
        """Keep nothing."""


def ours(client: "redis.Redis", note: Note) -> Get:
    def mint(_api_key: SecretStr) -> Minted:
        note("minting")
        time.sleep(MINT_S)
        note("minted")
        return Minted(SecretStr("token"), 900)

    return TokenCache(client, mint, Keys()).get


def locked(client: "redis.Redis", note: Note) -> Get:
    """Return the usual way: look, take the lock, look again, mint, store."""

    def get(account: str) -> object:
        if found := client.get(f"locked:{account}"):
            return found
        with client.lock(f"lock:{account}", timeout=10):
            if found := client.get(f"locked:{account}"):
                return found
            note("minting")
            time.sleep(MINT_S)
            client.set(f"locked:{account}", "token", ex=840)
            note("minted")
            return "token"

    return get


def process(url: str, way: Callable[..., Get], account: str, threads: int, together: Barrier, found: Any) -> None:
    client = redis.Redis.from_url(url, max_connections=threads + 8)
    notes: list[tuple[str, float]] = []
    get = way(client, lambda what: notes.append((what, time.monotonic())))

    def run() -> None:
        together.wait()
        get(account)
        notes.append(("got", time.monotonic()))

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    found.put(notes)


def cold_start(
    url: str, way: Callable[..., Get], account: str, processes: int, threads: int
) -> tuple[int, list[float]]:
    """Return how many mints there were, and for each thread the ms from the first mint's end to its token."""
    together, found = fork.Barrier(processes * threads), fork.SimpleQueue()
    arguments = (url, way, account, threads, together, found)
    running = [fork.Process(target=process, args=arguments) for _ in range(processes)]
    for one in running:
        one.start()
    notes = [note for _ in running for note in found.get()]
    for one in running:
        one.join()
    landed = min(at for what, at in notes if what == "minted")
    waits = [(at - landed) * 1000 for what, at in notes if what == "got"]
    return sum(what == "minting" for what, _ in notes), sorted(waits)


def hit_us(get: Get, times: int) -> float:
    get("hit")
    began = time.perf_counter()
    for _ in range(times):
        get("hit")
    return (time.perf_counter() - began) / times * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    ways = {"single flight": ours, "redis-py Lock": locked}
    results: dict[str, list[tuple[int, list[float]]]] = {name: [] for name in ways}
    with RedisServer(Path(tempfile.mkdtemp())) as server:
        for turn in range(arguments.rounds):
            for name, way in ways.items():
                size = (arguments.processes, arguments.threads)
                results[name].append(cold_start(server.url, way, f"account-{turn}", *size))
        hits = {name: hit_us(way(redis.Redis.from_url(server.url), lambda _: None), 5000) for name, way in ways.items()}
    print(f"{'':16} mints    p50 ms    p99 ms    last ms    a hit, µs")
    middle: dict[str, list[float]] = {}
    for name, rounds in results.items():
        places = [(waits[len(waits) // 2], waits[int(len(waits) * 0.99)], waits[-1]) for _, waits in rounds]
        middle[name] = [*(statistics.median(place) for place in zip(*places, strict=True)), hits[name]]
        p50, p99, last, hit = middle[name]
        print(f"{name:16} {max(mints for mints, _ in rounds):5} {p50:9.1f} {p99:9.1f} {last:10.1f} {hit:12.1f}")
    ratios = [lock / flight for flight, lock in zip(*middle.values(), strict=True)]
    print("Lock / flight         {:10.0f}x {:8.0f}x {:9.0f}x {:11.0f}x".format(*ratios))


if __name__ == "__main__":
    main()

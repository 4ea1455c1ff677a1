"""A token for a cold fleet: our single flight beside redis-py's Lock, in turns within a run.

`python -m bench.tokens [--no-fail] [--processes 8 --threads 16 --rounds 5]`. All threads of all
processes request the token of the same account at the same moment; a mint takes 300 ms. Figures:
the number of mints, the time from the end of the mint until each thread has the token, and the
cost of a token that is cached. Exits with 1 when a target was missed: a single mint, half of the
threads within 10 ms, and no figure slower than the Lock's.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import redis
import structlog
from pydantic import SecretStr

from bench.engine_sides.figures import Figure
from bench.kept import figure_file
from sandbox.redis import RedisServer
from shared.tokens import TokenCache
from shared.tokens.store import MintedToken, StoredCredentials, Token

MINT_S = 0.3
P50_MS = 10.0
Get = Callable[[str], object]
Note = Callable[[str], None]
fork = multiprocessing.get_context("fork")


class KeyStore:
    """A token store with API keys and no tokens."""

    def load(self, account: str) -> StoredCredentials:
        return StoredCredentials(SecretStr(account))

    def save(self, account: str, token: Token) -> None:
        """Discard the token."""


def open_token_cache(client: "redis.Redis", note: Note) -> Get:
    def mint(_api_key: SecretStr) -> MintedToken:
        note("minting")
        time.sleep(MINT_S)
        note("minted")
        return MintedToken(SecretStr("token"), 900)

    return TokenCache(client, mint, KeyStore()).get


def open_locked_cache(client: "redis.Redis", note: Note) -> Get:
    """Return the usual pattern: read, take the lock, read again, mint, store."""

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


def run_process(
    url: str, way: Callable[..., Get], account: str, threads: int, together: Barrier, found: Any
) -> None:
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
    """Return the number of mints, and per thread the ms from the first mint's end to its token."""
    together = fork.Barrier(processes * threads)
    found = fork.SimpleQueue()
    arguments = (url, way, account, threads, together, found)
    running = [fork.Process(target=run_process, args=arguments) for _ in range(processes)]
    for process in running:
        process.start()
    notes = [note for _ in running for note in found.get()]
    for process in running:
        process.join()
    minted = min(at for what, at in notes if what == "minted")
    waits = [(at - minted) * 1000 for what, at in notes if what == "got"]
    return sum(what == "minting" for what, _ in notes), sorted(waits)


def measure_hit_us(get: Get, times: int) -> float:
    get("hit")
    began = time.perf_counter()
    for _ in range(times):
        get("hit")
    return (time.perf_counter() - began) / times * 1e6


@dataclass(frozen=True)
class Result:
    """Over all rounds: the most mints, the medians of the quantiles in ms, and a hit in µs."""

    mints: int
    p50: float
    p99: float
    last: float
    hit: float

    @classmethod
    def summarize(cls, rounds: list[tuple[int, list[float]]], hit: float) -> "Result":
        quantiles = [
            (waits[len(waits) // 2], waits[int(len(waits) * 0.99)], waits[-1])
            for _, waits in rounds
        ]
        p50, p99, last = (statistics.median(column) for column in zip(*quantiles, strict=True))
        return cls(max(mints for mints, _ in rounds), p50, p99, last, hit)

    @property
    def row(self) -> str:
        return f"{self.mints:5} {self.p50:9.1f} {self.p99:9.1f} {self.last:10.1f} {self.hit:12.1f}"


def measure(url: str, processes: int, threads: int, rounds: int) -> tuple[Result, Result]:
    """Return the results of single flight and of the Lock, measured in turns."""
    ways = (open_token_cache, open_locked_cache)
    found: tuple[list[tuple[int, list[float]]], ...] = ([], [])
    for turn in range(rounds):
        for results, way in zip(found, ways, strict=True):
            results.append(cold_start(url, way, f"account-{turn}", processes, threads))
    hits = [measure_hit_us(way(redis.Redis.from_url(url), lambda _: None), 5000) for way in ways]
    flight, lock = (
        Result.summarize(results, hit) for results, hit in zip(found, hits, strict=True)
    )
    return flight, lock


def find_missed(flight: Result, lock: Result) -> list[str]:
    """Return the missed targets as text."""
    targets = {
        f"one mint, not {flight.mints}": flight.mints == 1,
        f"p50 ≤ {P50_MS:.0f} ms, not {flight.p50:.1f}": flight.p50 <= P50_MS,
        "faster than the Lock in the middle": flight.p50 < lock.p50,
        "faster than the Lock at the 99th percentile": flight.p99 < lock.p99,
        "faster than the Lock for the last thread": flight.last < lock.last,
        "faster than the Lock for a cached token": flight.hit < lock.hit,
    }
    return [target for target, is_met in targets.items() if not is_met]


def list_figures(flight: Result, lock: Result) -> list[Figure]:
    """Return both ways as figures; a target is to be better than the Lock."""
    return [
        Figure("mints of a token", "mints", flight.mints, lock.mints, 1),
        Figure("cold token, p50", "ms", flight.p50, lock.p50, min(P50_MS, lock.p50)),
        Figure("cold token, p99", "ms", flight.p99, lock.p99, lock.p99),
        Figure("cold token, last thread", "ms", flight.last, lock.last, lock.last),
        Figure("cached token", "µs", flight.hit, lock.hit, lock.hit),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--no-fail", action="store_true", help="exit with 0 whatever the figures are"
    )
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    with RedisServer(Path(tempfile.mkdtemp())) as server:
        flight, lock = measure(server.url, arguments.processes, arguments.threads, arguments.rounds)
    print(f"{'':16} mints    p50 ms    p99 ms    last ms    a hit, µs")
    print(f"single flight    {flight.row}\nredis-py Lock    {lock.row}")
    ratios = (
        lock.p50 / flight.p50,
        lock.p99 / flight.p99,
        lock.last / flight.last,
        lock.hit / flight.hit,
    )
    print("Lock / flight         {:10.0f}x {:8.0f}x {:9.0f}x {:11.0f}x".format(*ratios))
    for target in find_missed(flight, lock):
        print(f"MISSED: {target}")
    if arguments.json:
        figure_file.write(arguments.json, list_figures(flight, lock))
    if not arguments.no_fail:
        sys.exit(bool(find_missed(flight, lock)))


if __name__ == "__main__":
    main()

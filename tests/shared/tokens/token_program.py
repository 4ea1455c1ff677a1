"""Many processes that need a token at the same moment.

Usage: `token_program <redis url> <account> <processes> <threads> <first mint s> <lease s>`. Prints
a JSON line per mint and per token, with the process id and `at`, in seconds by the monotonic
clock of the machine. The first mint takes `<first mint s>`, each later mint 0.1 s.
"""

import json
import multiprocessing
import os
import sys
import threading
import time

import redis
import structlog
from pydantic import SecretStr

from shared.tokens import TokenCache
from shared.tokens.policy import RefreshPolicy
from shared.tokens.store import MintedToken
from tests.shared.tokens.stores import MemoryStore


def print_event(what: str, value: str) -> None:
    event = {"what": what, "value": value, "at": time.monotonic(), "pid": os.getpid()}
    os.write(1, f"{json.dumps(event)}\n".encode())


def run_process(
    url: str, account: str, threads: int, times: tuple[float, float], start: float
) -> None:
    first_mint_s, lease_s = times
    client = redis.Redis.from_url(url)

    def mint(_api_key: SecretStr) -> MintedToken:
        is_first = client.incr("mints") == 1
        print_event("minting", "")
        time.sleep(first_mint_s if is_first else 0.1)
        value = f"token of {os.getpid()}"
        print_event("minted", value)
        return MintedToken(SecretStr(value), 900)

    cache = TokenCache(
        client,
        mint,
        MemoryStore(),
        RefreshPolicy(mint_timeout_s=lease_s - 1, store_timeout_s=0.5, lease_margin_s=0.5),
    )

    def get() -> None:
        time.sleep(max(0.0, start - time.monotonic()))
        print_event("got", cache.get(account, timeout_s=30).value.get_secret_value())

    running = [threading.Thread(target=get) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def main(url: str, account: str, processes: int, threads: int, times: tuple[float, float]) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    fork = multiprocessing.get_context("fork")
    start = time.monotonic() + 1  # a killed process would block a barrier
    running = [
        fork.Process(target=run_process, args=(url, account, threads, times, start))
        for _ in range(processes)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join()


if __name__ == "__main__":
    main(
        sys.argv[1],
        sys.argv[2],
        int(sys.argv[3]),
        int(sys.argv[4]),
        (float(sys.argv[5]), float(sys.argv[6])),
    )

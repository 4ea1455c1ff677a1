"""A fleet that needs one token: `token_program <redis url> <account> <processes> <threads> <first mint s> <lease s>`.

All threads of all processes ask at once. Prints one JSON line per mint and per token, with the process's id and `at`,
in seconds by the clock that all processes of a machine share. The first mint of all takes its time, the others 0.1 s.
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


def say(what: str, value: str) -> None:
    line = (
        json.dumps({"what": what, "value": value, "at": time.monotonic(), "pid": os.getpid()})
        + "\n"
    )
    os.write(1, line.encode())


def one_process(
    url: str, account: str, threads: int, times: tuple[float, float], start: float
) -> None:
    first_mint_s, lease_s = times
    client = redis.Redis.from_url(url)

    def mint(_api_key: SecretStr) -> MintedToken:
        is_first = client.incr("mints") == 1
        say("minting", "")
        time.sleep(first_mint_s if is_first else 0.1)
        value = f"token of {os.getpid()}"
        say("minted", value)
        return MintedToken(SecretStr(value), 900)

    cache = TokenCache(
        client, mint, MemoryStore(), RefreshPolicy(mint_s=lease_s - 1, store_s=0.5, spare_s=0.5)
    )

    def get() -> None:
        time.sleep(max(0.0, start - time.monotonic()))
        say("got", cache.get(account, timeout_s=30).value.get_secret_value())

    running = [threading.Thread(target=get) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def main(url: str, account: str, processes: int, threads: int, times: tuple[float, float]) -> None:
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )  # its lines end in a write of their own
    fork = multiprocessing.get_context("fork")
    start = time.monotonic() + 1  # no barrier: who is killed in one keeps the others there
    running = [
        fork.Process(target=one_process, args=(url, account, threads, times, start))
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

"""A platform that hands out tokens in memory, and what tests of the cache in front of it have in common."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from shared.tokens.policy import RefreshPolicy
from shared.tokens.store import MintedToken, Token

ACCOUNT = "0000000000042"
KEY = f"wpp:token:{{{ACCOUNT}}}"
QUICK = RefreshPolicy(store_s=0.5, mint_s=1, spare_s=0.5, pause_s=0.1, refused_s=0.3)


class Mint:
    """The platform: hands out tokens that live `life_s`, and keeps book of its calls."""

    def __init__(self, life_s: float = 900, takes_s: float = 0.0) -> None:
        self.life_s, self.takes_s = life_s, takes_s
        self.calls = 0
        self.most_at_once = 0
        self.ends: dict[str, float] = {}
        self.failure: Exception | None = None
        self._at_once = 0
        self._lock = threading.Lock()

    def __call__(self, api_key: SecretStr) -> MintedToken:
        with self._lock:
            self.calls += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            value = f"{api_key.get_secret_value()}-{self.calls}"
        time.sleep(self.takes_s)
        with self._lock:
            self._at_once -= 1
            self.ends[value] = time.monotonic() + self.life_s
        if self.failure:
            raise self.failure
        return MintedToken(SecretStr(value), self.life_s)


def stored(value: str, left_s: float) -> tuple[str, Token]:
    return ACCOUNT, Token(SecretStr(value), 0, datetime.now(UTC) + timedelta(seconds=left_s))


def value(token: Token | None) -> str | None:
    return token.value.get_secret_value() if token else None


def together(count: int, work: Callable[[], object]) -> list[object]:
    """Run `work` in `count` threads that begin at once; return what each gave, or raised."""
    barrier, found = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 - it is the finding
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def refreshes_end() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("token-"):
            thread.join()

"""A fake mint for tokens, and helpers for tests of the token cache."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from shared.redis import keys
from shared.tokens.policy import RefreshPolicy
from shared.tokens.store import MintedToken, Token

ACCOUNT = "0000000000042"
KEY = keys.token(ACCOUNT)
QUICK_POLICY = RefreshPolicy(
    store_timeout_s=0.5, mint_timeout_s=1, lease_margin_s=0.5, pause_s=0.1, refusal_ttl_s=30
)


class FakeMint:
    """Mints tokens that are valid for `lifetime_s`, and counts its calls.

    While `go_on` is clear, a mint that has `begun` goes no further.
    """

    def __init__(self, lifetime_s: float = 900, takes_s: float = 0.0) -> None:
        self.lifetime_s = lifetime_s
        self.takes_s = takes_s
        self.calls = 0
        self.max_concurrent = 0
        self.ends: dict[str, float] = {}
        self.failure: Exception | None = None
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self._concurrent = 0
        self._lock = threading.Lock()

    def __call__(self, api_key: SecretStr) -> MintedToken:
        with self._lock:
            self.calls += 1
            self._concurrent += 1
            self.max_concurrent = max(self.max_concurrent, self._concurrent)
            value = f"{api_key.get_secret_value()}-{self.calls}"
        self.begun.set()
        time.sleep(self.takes_s)
        assert self.go_on.wait(60)
        with self._lock:
            self._concurrent -= 1
            self.ends[value] = time.monotonic() + self.lifetime_s
        if self.failure:
            raise self.failure
        return MintedToken(SecretStr(value), self.lifetime_s)


def stored_token(value: str, left_s: float) -> tuple[str, Token]:
    return ACCOUNT, Token(SecretStr(value), 0, datetime.now(UTC) + timedelta(seconds=left_s))


def token_value(token: Token | None) -> str | None:
    return token.value.get_secret_value() if token else None


def run_together(count: int, work: Callable[[], object]) -> list[object]:
    """Run `work` in `count` threads at once; return what each returned or raised."""
    barrier = threading.Barrier(count)
    found = []

    def run() -> None:
        barrier.wait()
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 - the error is the result
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def join_refreshes() -> None:
    """Wait for all refresh and save threads."""
    for thread in threading.enumerate():
        if thread.name.startswith("token-"):
            thread.join()

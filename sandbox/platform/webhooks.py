"""Webhooks on their way: in order per account, retried, and kept until somebody took them."""

import asyncio
import itertools
from collections import deque
from typing import Any

import httpx

from sandbox.platform.accounts import Account
from sandbox.platform.faults import Faults
from sandbox.platform.ledger import Ledger
from sandbox.platform.settings import Settings
from sandbox.platform.store import Store

PENDING = "pending"
MAX_BACKOFF_S = 10

Webhook = tuple[str, dict[str, Any]]
"""Its key in the store, and its body."""


class Webhooks:
    def __init__(self, settings: Settings, store: Store, faults: Faults, ledger: Ledger) -> None:
        self._settings = settings
        self._store = store
        self._faults = faults
        self._ledger = ledger
        self._numbers = itertools.count(1)
        self._queues: dict[str, deque[Webhook]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None

    async def open(self, accounts: dict[str, Account]) -> None:
        """Start posting, first what a restart left behind."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._client = httpx.AsyncClient(timeout=self._settings.webhook_timeout_s, limits=limits, trust_env=False)
        for key, (session, body) in list(self._store.all(PENDING)):
            self._numbers = itertools.count(int(key) + 1)
            self._enqueue(accounts[session], (key, body))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client:
            await self._client.aclose()

    def post(self, account: Account, body: dict[str, Any]) -> None:
        """Have `body` posted to where the account's webhooks go now; lost when that is nowhere."""
        if account.webhook is None or self._faults.mutes(account.session):
            self._ledger.count("webhooks", body["type"], "unregistered" if account.webhook is None else "muted")
            return
        for _ in range(2 if self._faults.duplicates() else 1):
            webhook = (str(next(self._numbers)), body)
            self._store.put(PENDING, webhook[0], [account.session, body])
            if delay_s := self._faults.delay_s():
                self._run(self._deliver_late(account, webhook, delay_s))
            else:
                self._enqueue(account, webhook)

    def _enqueue(self, account: Account, webhook: Webhook) -> None:
        queue = self._queues.get(account.session)
        if queue is None:
            queue = self._queues[account.session] = deque()
            self._run(self._drain(account, queue))
        queue.append(webhook)

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, account: Account, queue: deque[Webhook]) -> None:
        while queue:
            await self._deliver(account, queue.popleft())
        del self._queues[account.session]

    async def _deliver_late(self, account: Account, webhook: Webhook, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self._deliver(account, webhook)

    async def _deliver(self, account: Account, webhook: Webhook) -> None:
        key, body = webhook
        for attempt in range(self._settings.webhook_attempts):
            if attempt:
                await asyncio.sleep(min(MAX_BACKOFF_S, self._settings.webhook_backoff_s * 2 ** (attempt - 1)))
            result = await self._attempt(account, body)
            self._ledger.count("webhooks", body["type"], result)
            if result.startswith("2"):
                break
        else:
            self._ledger.count("webhooks", body["type"], "lost")
        self._store.drop(PENDING, key)

    async def _attempt(self, account: Account, body: dict[str, Any]) -> str:
        """Return the answer's status, or the name of the error."""
        assert self._client  # noqa: S101 - opened with the app
        assert account.webhook  # noqa: S101 - a webhook is only kept for an account that has one
        try:
            answer = await self._client.post(account.webhook, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__
        return str(answer.status_code)

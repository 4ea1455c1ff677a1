"""Webhook delivery: in order per account, retried, stored until they are accepted."""

import asyncio
import itertools
import json
import ssl
import sys
from collections import deque
from collections.abc import Coroutine
from functools import cache
from importlib.util import find_spec
from typing import Any

import httpx

from sandbox.platform.accounts import Account
from sandbox.platform.faults import Faults
from sandbox.platform.ledger import Ledger
from sandbox.platform.settings import Settings
from sandbox.platform.store import Store

if find_spec("sniffio") is None:
    # httpcore tries to import it four times a request, and each failing import searches the disk:
    # half of a webhook's CPU. None makes the import fail at once.
    sys.modules["sniffio"] = None  # type: ignore[assignment]

PENDING = "pending"
LAST_POST_S = 1.0
MAX_BACKOFF_S = 10

Webhook = tuple[str, dict[str, Any]]
"""Its key in the store, and its body."""


@cache
def _tls_context() -> ssl.SSLContext:
    """Return the context of all lanes: it takes longer to make than a hundred webhooks."""
    return ssl.create_default_context()


class Lane:
    """The queue and the connection of an account's webhooks.

    CPU of a webhook with ten accounts: 425 µs with a transport per lane, 980 µs with a shared
    `httpx.AsyncClient`.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.waiting: deque[Webhook] = deque()
        self.busy = False
        self.transport = httpx.AsyncHTTPTransport(verify=_tls_context(), trust_env=False)

    async def post(self, body: dict[str, Any], timeout_s: float) -> str:
        """Post to the account's current webhook URL; return the status or the name of the error."""
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)
        try:
            request = httpx.Request(
                "POST",
                self.account.webhook or "",
                content=json.dumps(body),
                headers={"Content-Type": "application/json"},
                extensions={"timeout": timeout},
            )
            answer = await self.transport.handle_async_request(request)
            await answer.aread()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__
        return str(answer.status_code)


class Webhooks:
    def __init__(self, settings: Settings, store: Store, faults: Faults, ledger: Ledger) -> None:
        self._settings = settings
        self._store = store
        self._faults = faults
        self._ledger = ledger
        self._numbers = itertools.count(1)
        self._lanes: dict[str, Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._posts: set[asyncio.Task[str]] = set()

    def resume(self, accounts: dict[str, Account]) -> None:
        """Post the webhooks that a restart left."""
        for key, (session, body) in self._store.all(PENDING):
            self._numbers = itertools.count(int(key) + 1)
            self._enqueue(self._get_lane(accounts[session]), (key, body))

    async def close(self) -> None:
        """Stop posting. A post ends first: cancelled while it connects, it leaves a socket."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._posts:
            await asyncio.wait(self._posts, timeout=LAST_POST_S)
        for post in self._posts:
            post.cancel()
        for lane in self._lanes.values():
            await lane.transport.aclose()

    def drop_waiting(self) -> None:
        """Drop the webhooks that wait, also for their next attempt. Posts under way end."""
        for task in self._tasks:
            task.cancel()
        for lane in self._lanes.values():
            lane.waiting.clear()
            lane.busy = False
        self._store.drop(PENDING)

    def post(self, account: Account, body: dict[str, Any]) -> None:
        """Queue `body`; it is lost if the account is muted or has no webhook URL."""
        if account.webhook is None or self._faults.is_muted(account.session):
            self._ledger.count(
                "webhooks", body["type"], "unregistered" if account.webhook is None else "muted"
            )
            return
        lane = self._get_lane(account)
        for _ in range(2 if self._faults.draw_duplicate() else 1):
            webhook = (str(next(self._numbers)), body)
            self._store.put(PENDING, webhook[0], [account.session, body])
            if delay_s := self._faults.draw_delay_s():
                self._run(self._deliver_late(lane, webhook, delay_s))
            else:
                self._enqueue(lane, webhook)

    def _get_lane(self, account: Account) -> Lane:
        if account.session not in self._lanes:
            self._lanes[account.session] = Lane(account)
        return self._lanes[account.session]

    def _enqueue(self, lane: Lane, webhook: Webhook) -> None:
        lane.waiting.append(webhook)
        if not lane.busy:
            lane.busy = True
            self._run(self._deliver_all(lane))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver_all(self, lane: Lane) -> None:
        while lane.waiting:
            await self._deliver(lane, lane.waiting.popleft())
        lane.busy = False

    async def _deliver_late(self, lane: Lane, webhook: Webhook, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self._deliver(lane, webhook)

    async def _deliver(self, lane: Lane, webhook: Webhook) -> None:
        key, body = webhook
        for attempt in range(self._settings.webhook_attempts):
            if attempt:
                await asyncio.sleep(
                    min(MAX_BACKOFF_S, self._settings.webhook_backoff_s * 2 ** (attempt - 1))
                )
            post = asyncio.create_task(lane.post(body, self._settings.webhook_timeout_s))
            self._posts.add(post)
            post.add_done_callback(self._posts.discard)
            result = await asyncio.shield(post)
            self._ledger.count("webhooks", body["type"], result)
            if result.startswith("2"):
                break
        else:
            self._ledger.count("webhooks", body["type"], "lost")
        self._store.drop(PENDING, key)

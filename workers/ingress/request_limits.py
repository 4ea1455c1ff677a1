"""Rate limits of requests: a bucket for each key, account and address, shared by all processes.

A bucket holds a quota of requests and refills evenly. Each process decides by a copy in its own
memory, so an accepted request waits for nothing. What the copies gave out is settled with Redis in
the background, for all buckets in one script: after `SETTLE_S` where it matters, else after
`REST_S`. Until then a process does not know what the rest of the processes gave out, so they may
exceed a quota together: each by a tenth of what was left, and by what it takes within `SETTLE_S`.
The excess is paid back before the next request is accepted. Without Redis each process limits
alone.
"""

import asyncio
import ipaddress
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NoReturn, Self

import redis
import redis.asyncio
import structlog
from cachetools import LRUCache
from starlette.types import Scope

from shared.errors import PipelineError
from shared.redis import keys
from shared.redis.scripts import LuaScript
from shared.settings import IngressSettings

SETTLE_S = 0.05
REST_S = 1.0
"""How long a small part of a quota may stay unsettled."""
RETRY_S = 1.0
"""How long Redis is left alone after it did not answer."""
BATCH = 500
"""Buckets of a script call: Redis settles them in about 2 ms."""
MAX_BUCKETS = 20_000
LOG_INTERVAL_S = 10.0

QuotaName = Literal["key", "webhook", "address", "failure"]
"""What is limited: the requests of a key or user, the webhooks of an account, the requests without
credentials of an address, and its failed attempts to authenticate."""

SETTLE = LuaScript.from_package(__package__, "request_limits.lua")

log = structlog.get_logger()


@dataclass(frozen=True)
class Quota:
    """`requests` at once, and as many again within `seconds`. Without requests: no limit."""

    requests: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a setting: "6000/30" is 6,000 requests in 30 s, "0" is no limit."""
        requests, _, seconds = text.partition("/")
        return cls(int(requests), float(seconds or 1))


def read_quotas(settings: IngressSettings) -> dict[QuotaName, Quota]:
    return {
        "key": Quota.parse(settings.wpp_key_quota),
        "webhook": Quota.parse(settings.wpp_webhook_quota),
        "address": Quota.parse(settings.wpp_address_quota),
        "failure": Quota.parse(settings.wpp_failure_quota),
    }


@dataclass(frozen=True)
class Allowance:
    """What is left of a quota. `full_in_s`: until all of it is there again."""

    limit: QuotaName
    quota: Quota
    remaining: int
    full_in_s: float

    @property
    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers."""
        policy = f'"{self.limit}";q={self.quota.requests};w={math.ceil(self.quota.seconds)}'
        current = f'"{self.limit}";r={self.remaining};t={math.ceil(self.full_in_s)}'
        return {"RateLimit-Policy": policy, "RateLimit": current}


class TooManyRequestsError(PipelineError):
    """A quota is used up; the next request is accepted after `retry_after_s`."""

    code = "rate_limited"

    def __init__(self, allowance: Allowance, retry_after_s: float) -> None:
        quota = allowance.quota
        super().__init__(
            f"Too many requests: at most {quota.requests} in {quota.seconds:g} s "
            f"({allowance.limit}). Wait for the time in Retry-After."
        )
        self.allowance = allowance
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class Bucket:
    """This process' copy of a bucket. Times in s, on the monotonic clock.

    What was taken is measured by the time in which the bucket regains it.
    """

    limit: QuotaName
    subject: str
    quota: Quota
    full_at_s: float = 0.0
    unsettled_s: float = 0.0

    def read(self, now_s: float) -> Allowance:
        full_in_s = max(0.0, self.full_at_s - now_s)
        share = max(0.0, 1 - full_in_s / self.quota.seconds)
        remaining = int(self.quota.requests * share + 1e-6)
        return Allowance(self.limit, self.quota, remaining, full_in_s)

    def find_wait(self, now_s: float, count: int = 1) -> float:
        """Return how long it takes until `count` requests may be taken; 0 for now.

        More than the whole quota may be taken once all of it is there.
        """
        cost_s = self.quota.seconds * min(1.0, count / self.quota.requests)
        return max(0.0, self.full_at_s - now_s + cost_s - self.quota.seconds - 1e-6)

    def take(self, now_s: float, count: int = 1) -> bool:
        """Take `count` requests; return whether that has to be settled soon."""
        cost_s = self.quota.seconds * count / self.quota.requests
        self.full_at_s = max(now_s, self.full_at_s) + cost_s
        self.unsettled_s += cost_s
        left_s = self.quota.seconds - (self.full_at_s - now_s)
        return self.unsettled_s >= left_s / 10

    def begin_settling(self) -> int:
        """Return what is unsettled, in ms, and regard it as settled."""
        taken_ms = int(self.unsettled_s * 1000)
        self.unsettled_s -= taken_ms / 1000
        return taken_ms


@dataclass
class RefusedRequests:
    """Counts of refused requests: what the next log line tells, and what Redis does not know."""

    unsettled: Counter[QuotaName] = field(default_factory=Counter)
    unlogged: Counter[QuotaName] = field(default_factory=Counter)
    logged_s: dict[QuotaName, float] = field(default_factory=dict)

    def add(self, limit: QuotaName, subject: str, now_s: float) -> None:
        """Count a request; write a log line at most every `LOG_INTERVAL_S`."""
        self.unsettled[limit] += 1
        self.unlogged[limit] += 1
        if now_s - self.logged_s.get(limit, -math.inf) >= LOG_INTERVAL_S:
            self.logged_s[limit] = now_s
            refused = self.unlogged.pop(limit)
            log.warning("requests.limited", limit=limit, subject=subject, refused=refused)


class RequestLimits:
    """The buckets of a process. All methods run in one event loop."""

    def __init__(self, client: "redis.asyncio.Redis", quotas: Mapping[QuotaName, Quota]) -> None:
        self._client = client
        self._quotas = quotas
        self._buckets: LRUCache[tuple[QuotaName, str], Bucket] = LRUCache(MAX_BUCKETS)
        self._unsettled: dict[tuple[QuotaName, str], Bucket] = {}
        self._held: Counter[tuple[QuotaName, str]] = Counter()
        self._refused = RefusedRequests()
        self._settler: asyncio.Task[None] | None = None
        self._settle_at_s = math.inf
        self._unshared_log_s = -math.inf

    def take(self, limit: QuotaName, subject: str, count: int = 1) -> Allowance | None:
        """Count `count` requests; return what is left, or None without a limit.

        Raises:
            TooManyRequestsError: less than that is left of the quota. Nothing is counted.
        """
        quota = self._quotas[limit]
        if not quota.requests or not count:
            return None
        now_s = time.monotonic()
        bucket = self._find_bucket(limit, subject)
        self._check(bucket, now_s, count)
        urgent = bucket.take(now_s, count)
        self._unsettled[limit, subject] = bucket
        self._settle_by(now_s + (SETTLE_S if urgent else REST_S))
        return bucket.read(now_s)

    def check(self, limit: QuotaName, subject: str) -> None:
        """Raise TooManyRequestsError if the quota is used up; count nothing else."""
        if self._quotas[limit].requests and (limit, subject) in self._buckets:
            self._check(self._buckets[limit, subject], time.monotonic())

    @contextmanager
    def hold(self, limit: QuotaName, subject: str) -> Iterator[None]:
        """Hold a place in a quota while it is not known yet whether a request counts.

        Whoever finds that it counts calls `take` afterwards, before anything is awaited.

        Raises:
            TooManyRequestsError: the quota is used up, or the rest of it is held.
        """
        name = (limit, subject)
        if self._quotas[limit].requests:
            self._check_held(self._find_bucket(limit, subject), self._held[name])
        self._held[name] += 1
        try:
            yield
        finally:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]

    async def aclose(self) -> None:
        """Stop settling."""
        if self._settler:
            self._settler.cancel()
            await asyncio.gather(self._settler, return_exceptions=True)

    def _find_bucket(self, limit: QuotaName, subject: str) -> Bucket:
        bucket = self._buckets.get((limit, subject))
        if bucket is None:
            bucket = Bucket(limit, subject, self._quotas[limit])
            self._buckets[limit, subject] = bucket
        return bucket

    def _check(self, bucket: Bucket, now_s: float, count: int = 1) -> None:
        wait_s = bucket.find_wait(now_s, count)
        if wait_s > 0:
            self._refuse(bucket, now_s, wait_s)

    def _check_held(self, bucket: Bucket, held: int) -> None:
        now_s = time.monotonic()
        if held >= bucket.read(now_s).remaining:
            self._refuse(bucket, now_s, bucket.find_wait(now_s, held + 1) or RETRY_S)

    def _refuse(self, bucket: Bucket, now_s: float, wait_s: float) -> NoReturn:
        self._refused.add(bucket.limit, bucket.subject, now_s)
        self._settle_by(now_s + REST_S)
        raise TooManyRequestsError(bucket.read(now_s), wait_s)

    # Settling

    def _settle_by(self, at_s: float) -> None:
        self._settle_at_s = min(self._settle_at_s, at_s)
        if self._settler is None or self._settler.done():
            self._settler = asyncio.create_task(self._settle_all())

    async def _settle_all(self) -> None:
        while self._unsettled or self._refused.unsettled:
            await asyncio.sleep(SETTLE_S)
            if time.monotonic() >= self._settle_at_s:
                self._settle_at_s = math.inf
                await self._settle()

    async def _settle(self) -> None:
        """Settle what is unsettled now; what is taken meanwhile waits for the next time."""
        names = list(self._unsettled)
        try:
            for start in range(0, max(1, len(names)), BATCH):
                batch = [self._unsettled.pop(name) for name in names[start : start + BATCH]]
                await self._settle_batch(batch)
        except (redis.RedisError, OSError) as error:
            await self._wait_for_redis(error)

    async def _settle_batch(self, batch: list[Bucket]) -> None:
        taken = [bucket.begin_settling() for bucket in batch]
        refused, self._refused.unsettled = self._refused.unsettled, Counter()
        try:
            lifetimes = await self._call(batch, taken, refused)
        except (redis.RedisError, OSError):
            self._restore(batch, taken, refused)
            raise
        now_s = time.monotonic()
        for bucket, lifetime_ms in zip(batch, lifetimes, strict=True):
            # Requests that were taken during the call are not in the reply.
            bucket.full_at_s = now_s + lifetime_ms / 1000 + bucket.unsettled_s

    async def _call(
        self, batch: list[Bucket], taken_ms: list[int], refused: Mapping[QuotaName, int]
    ) -> list[int]:
        names = [keys.request_bucket(bucket.limit, bucket.subject) for bucket in batch]
        arguments: list[Any] = [json.dumps(refused)]
        for bucket, taken in zip(batch, taken_ms, strict=True):
            arguments += [taken, int(2 * bucket.quota.seconds * 1000)]
        found: list[int] = await SETTLE.run_async(
            self._client, [keys.REFUSED_REQUESTS, *names], arguments
        )
        return found

    def _restore(
        self, batch: list[Bucket], taken_ms: list[int], refused: Counter[QuotaName]
    ) -> None:
        """Regard a batch as unsettled again."""
        for bucket, taken in zip(batch, taken_ms, strict=True):
            bucket.unsettled_s = min(bucket.unsettled_s + taken / 1000, bucket.quota.seconds)
            self._unsettled.setdefault((bucket.limit, bucket.subject), bucket)
        self._refused.unsettled += refused

    async def _wait_for_redis(self, error: Exception) -> None:
        now_s = time.monotonic()
        if now_s - self._unshared_log_s >= LOG_INTERVAL_S:
            self._unshared_log_s = now_s
            log.warning("requests.limits_unshared", error=str(error))
        self._settle_at_s = now_s + RETRY_S
        await asyncio.sleep(RETRY_S)


def find_client(scope: Scope) -> str:
    """Return the address of a client, as the trusted proxies name it.

    Of an IPv6 address the network (/64), which is what one subscriber has.
    """
    return _name_client(scope["client"][0] if scope.get("client") else "")


@lru_cache(maxsize=4096)
def _name_client(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)[:64]
    if isinstance(address, ipaddress.IPv6Address):
        network = ipaddress.IPv6Network((int(address) >> 64 << 64, 64))
        return str(address.ipv4_mapped or network)
    return str(address)

"""The sides: each runs the same job with its own parts, on a Redis of its own."""

import json
import os
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property

from bench.engine_sides.idle import serves
from bench.engine_sides.place import MADE_UP, Place, procfile, wait_until
from bench.pipeline_sides.environment import prepare
from bench.pipeline_sides.world import Organization, World
from bench.webhook_load.servers import UVICORN
from sandbox.ports import LOCALHOST, free_port
from shared import signed_keys
from shared.redis import keys

ORGANIZATIONS = 8
READY_S = 180.0
LINES = {"web": "ingress", "send": "send", "webhook": "webhook", "record": "recorder"}
LINES |= {"clock": "clock"}
"""The lines of the Procfile that a message needs, and what their process is called here."""


@dataclass
class Side(ABC):
    """Programs in a `place`, with organizations of their own in the `world`."""

    name = ""
    world: World
    place: Place
    port: int = field(default_factory=free_port)

    @cached_property
    def organizations(self) -> list[Organization]:
        return self.world.add_organizations(ORGANIZATIONS)

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.port}"

    def start(self) -> None:
        """Start the programs; return when the ingress serves."""
        self._launch()
        assert wait_until(lambda: serves(str(self.port)), READY_S), (
            f"{self.name}: its ingress is not ready"
        )
        self.place.check()

    @abstractmethod
    def _launch(self) -> None: ...

    @property
    @abstractmethod
    def messages_url(self) -> str: ...

    @property
    @abstractmethod
    def senders(self) -> list[tuple[str, dict[str, str]]]:
        """The header of each organization's requests, and fields of its bodies."""

    @abstractmethod
    def hooks(self) -> dict[str, str]:
        """Return the URL for the events of each account."""

    @abstractmethod
    def busy(self) -> bool:
        """Return whether work waits or runs, besides what is to be repeated later."""

    def retries(self) -> int:
        """Return how many events wait to be repeated."""
        return 0


class Ours(Side):
    name = "ours"

    def _launch(self) -> None:
        lines = procfile()
        for line, name in LINES.items():
            self.place.start(lines[line], name, PORT=str(self.port), WPP_KEY_QUOTA="0")

    @property
    def messages_url(self) -> str:
        return f"{self.url}/v1/messages"

    @property
    def senders(self) -> list[tuple[str, dict[str, str]]]:
        return [(f"Authorization: Bearer {each.key}", {}) for each in self.organizations]

    def hooks(self) -> dict[str, str]:
        secrets = [MADE_UP["WPP_KEY_SECRETS"].encode()]
        return {
            each.account: f"{self.url}/webhooks/wpp/{each.account}/"
            f"{signed_keys.make_webhook_key(each.account, secrets)}"
            for each in self.organizations
        }

    def busy(self) -> bool:
        redis = self.place.redis
        return bool(
            redis.exists(keys.waiting("send"), keys.waiting("webhook")) or redis.xlen(keys.OUTBOX)
        )


class Stock(Side):
    """FastAPI before a queue of stock parts."""

    key = "stock"

    @property
    def messages_url(self) -> str:
        return f"{self.url}/messages"

    @property
    def senders(self) -> list[tuple[str, dict[str, str]]]:
        header = f"Authorization: Bearer {self.key}"
        return [(header, {"organization_id": str(each.id)}) for each in self.organizations]

    def hooks(self) -> dict[str, str]:
        return {each.account: f"{self.url}/webhooks/{each.account}" for each in self.organizations}

    def _serve(self, app: str) -> None:
        self.place.start(f"{UVICORN} {app} --port {self.port}", "ingress", STOCK_API_KEY=self.key)


class StockDramatiq(Stock):
    name = "dramatiq"
    module = "bench.pipeline_sides.stock_dramatiq"

    def _launch(self) -> None:
        self._serve(f"{self.module}:app")
        for queue, threads in (("send", 32), ("webhook", 8)):
            self.place.start(
                f"dramatiq {self.module} -Q {queue} -p 1 -t {threads} --skip-logging", queue
            )

    def busy(self) -> bool:
        return bool(self.place.redis.exists("dramatiq:send.msgs", "dramatiq:webhook.msgs"))

    def retries(self) -> int:
        redis = self.place.redis
        return int(redis.hlen("dramatiq:webhook.DQ.msgs") + redis.hlen("dramatiq:send.DQ.msgs"))


class StockElsewhere(Stock):
    """Stock parts in an environment of their own, beside which ours cannot be installed."""

    @property
    def module(self) -> str:
        return f"bench.pipeline_sides.stock_{self.name}"

    def _launch(self) -> None:
        self.bin = prepare(self.name)
        self._run(f"{UVICORN} {self.module}:app --port {self.port}", "ingress")
        self._work()

    def _run(self, command: str, name: str) -> None:
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        self.place.start(command, name, PATH=path, STOCK_API_KEY=self.key)

    @abstractmethod
    def _work(self) -> None: ...


class Celery(StockElsewhere):
    name = "celery"

    def _work(self) -> None:
        for queue, threads in (("send", 32), ("webhook", 8)):
            self._run(
                f"celery -A {self.module}:celery worker -Q {queue} -P threads -c {threads}"
                f" -n {queue} --loglevel WARNING",
                queue,
            )

    def busy(self) -> bool:
        redis = self.place.redis
        return bool(redis.exists("send", "webhook") or redis.hlen("unacked") > self.retries())

    def retries(self) -> int:
        taken = (json.loads(each)[0] for each in self.place.redis.hvals("unacked"))
        return sum(message["headers"].get("eta") is not None for message in taken)


class Taskiq(StockElsewhere):
    name = "taskiq"

    def _work(self) -> None:
        for queue in ("send", "webhook"):
            self._run(f"taskiq worker {self.module}:{queue} --workers 1 --log-level WARNING", queue)

    def busy(self) -> bool:
        groups = [self.place.redis.xinfo_groups(queue)[0] for queue in ("send", "webhook")]
        ids = [
            self.place.redis.xinfo_stream(queue)["last-generated-id"]
            for queue in ("send", "webhook")
        ]
        unread = [
            group["last-delivered-id"] != last for group, last in zip(groups, ids, strict=True)
        ]
        return any(unread) or any(group["pending"] for group in groups)


class Arq(StockElsewhere):
    name = "arq"

    def _work(self) -> None:
        for queue in ("send", "webhook"):
            self._run(f"arq {self.module}.{queue.capitalize()}Worker", queue)

    def busy(self) -> bool:
        redis, now_ms = self.place.redis, time.time() * 1000
        due = sum(redis.zcount(queue, "-inf", now_ms) for queue in ("send", "webhook"))
        return bool(due or any(redis.scan_iter("arq:in-progress:*")))

    def retries(self) -> int:
        now_ms = time.time() * 1000
        return sum(self.place.redis.zcount(queue, now_ms, "+inf") for queue in ("send", "webhook"))


class EdgeFunctions(Stock):
    """The old edge functions' calls: no queue, so nothing is left when a request is answered."""

    name = "edge"

    def _launch(self) -> None:
        self._serve("bench.pipeline_sides.edge_functions:app")

    def busy(self) -> bool:
        return False


ALL = (Ours, StockDramatiq, Celery, Taskiq, Arq, EdgeFunctions)
SIDES: dict[str, type[Side]] = {each.name: each for each in ALL}

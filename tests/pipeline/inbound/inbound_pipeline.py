"""InboundPipeline: webhook events become rows, with workers and recorder in this process.

Redis, Supabase and the platform are real servers.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event as Flag
from typing import Any
from uuid import UUID, uuid4

import httpx
import redis

from shared import webhooks
from shared.database import Database
from shared.events import MediaEvent, WebhookEvent
from shared.outbox import Outbox
from shared.redis import keys
from shared.settings import MediaSettings
from tests.draining import drain, parse_first
from tests.fixtures.provision_env import ProvisionEnv, supabase_settings
from tests.shared.webhooks.webhook_events import route
from workers import media
from workers.context import WorkerContext
from workers.media.context import MediaContext
from workers.media.download import LinkFetcher
from workers.recorder import Recorder
from workers.webhook import handler as webhook

PEER = "79990001122"


@dataclass
class InboundPipeline:
    """An organization with a connected integration.

    `post` appends events to their lanes, `settle` handles them and applies their outcomes.
    """

    env: ProvisionEnv
    ctx: WorkerContext
    media: MediaContext
    organization: UUID
    account: str
    integration: UUID = field(default_factory=uuid4)

    @cached_property
    def outbox(self) -> Outbox:
        return Outbox(self.env.client)

    @property
    def redis(self) -> redis.Redis:
        return self.env.client

    def post(self, *bodies: Any) -> None:
        """Accept bodies as the ingress does, but in this process."""
        for body in bodies:
            for payload in webhooks.split_body(json.loads(json.dumps(body))).events:
                self.ctx.lanes.append(route(payload, self.account))

    def settle(self) -> None:
        """Handle events until no lane is ready, and apply their outcomes."""
        for kind, flow in (("webhook", webhook), ("media", media)):
            self.ctx.lanes.sweep(kind)
            self.drain(kind, flow)
        self.record()

    def record(self) -> None:
        """Apply the outcomes in the outbox."""
        recorder = Recorder(self.outbox, self.ctx.database.outcomes, Flag())
        while len(self.outbox):
            recorder.step(idle_s=0.01)

    def settle_all(self, within_s: float = 20) -> None:
        """Settle until no event waits, neither for a worker nor for its next attempt."""
        deadline = time.monotonic() + within_s
        while True:
            self.settle()
            if not (
                self.redis.hlen(keys.waiting("webhook")) or self.redis.hlen(keys.waiting("media"))
            ):
                return
            assert time.monotonic() < deadline, "an event still waits"
            time.sleep(0.05)

    def messages(self, **equal: Any) -> list[dict[str, Any]]:
        """Return the message rows of the organization that match, the oldest first."""
        rows = self.env.sql(
            "select m.*, c.name as client_name, c.phone as client_phone from chat_messages m "
            "left join clients c on c.id = m.client_id where m.organization_id = %s "
            "order by m.created_at, m.id",
            self.organization,
        )
        return [row for row in rows if all(row[name] == value for name, value in equal.items())]

    def logged(self) -> list[dict[str, Any]]:
        """Return the webhook log of the account, the oldest first."""
        return self.env.sql(
            "select * from wpp_webhook_log where account = %s order by recorded_at, at",
            self.account,
        )

    def stored(self) -> dict[str, str]:
        """Return the type of each object in the bucket, by its path."""
        found = self.env.sql("select name, metadata ->> 'mimetype' as mime from storage.objects")
        return {row["name"]: row["mime"] for row in found}

    def drain(self, kind: Any, flow: Any) -> None:
        """Handle the events of a queue until no lane is ready."""
        extra = (self.media,) if kind == "media" else ()
        event = MediaEvent if kind == "media" else WebhookEvent
        drain(
            self.ctx.lanes,
            kind,
            lambda claim: parse_first(event, getattr(flow, f"handle_{kind}"))(
                claim, self.ctx, *extra
            ),
            parse_first(event, getattr(flow, f"dead_letter_{kind}")),
        )


@contextmanager
def open_pipeline(env: ProvisionEnv, **media_settings: Any) -> Iterator[InboundPipeline]:
    """Connect an integration on the sandbox platform, and yield its pipeline."""
    settings = MediaSettings(**media_settings)
    with env.worker() as ctx, httpx.Client(timeout=15, trust_env=False) as http:
        organization = env.create_organization()
        client = ctx.platform.create_client(str(organization))
        media_context = MediaContext(
            LinkFetcher(settings, env.platform.url),
            Database(supabase_settings(env.supabase), http, media=settings).storage,
            settings.wpp_media_limit,
        )
        pipeline = InboundPipeline(env, ctx, media_context, organization, client.account)
        ctx.database.integrations.save(
            integration_id=pipeline.integration,
            organization_id=organization,
            account=client.account,
            api_key=client.api_key,
        )
        yield pipeline
        media_context.fetcher.close()

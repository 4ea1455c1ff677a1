"""A receiver, an organization with a callback to it, and the handler on real Redis and Supabase."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import redis
from pydantic import SecretStr

from sandbox.supabase.project import Supabase
from shared.callbacks import Callback, Delivery, make_secret
from shared.database import Database
from shared.lanes.client import Lanes
from shared.lanes.types import Claim, ClaimResult, ClaimSequence
from shared.outcomes import MessageOutcome
from shared.redis import keys
from shared.settings import CallbackSettings, EngineSettings
from tests.fixtures.provision_env import supabase_settings
from tests.fixtures.receiver import Receiver, run_receiver
from workers.callback.context import CallbackContext
from workers.callback.dispatch import Dispatcher
from workers.callback.handler import dead_letter_callback, handle_callback
from workers.callback.poster import Poster
from workers.event_codec import ACTORS
from workers.runner import handle_claim

SETTINGS = CallbackSettings(wpp_callback_private_hosts=("127.0.0.1",))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with run_receiver() as running:
        yield running


@dataclass
class CallbackEnv:
    """An organization with a number, and a worker that may post to this machine."""

    client: redis.Redis
    database: Database
    database_url: str
    patience: timedelta = timedelta(days=3)
    id: UUID = field(default_factory=uuid4)
    account: str = "42"

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.client, EngineSettings())
        self.ours = CallbackContext(Poster(SETTINGS), self.database, self.patience)
        self.dispatcher = Dispatcher(self.client, self.lanes, self.database)
        self.sql("insert into organizations (id, name) values (%s, 'School')", self.id)
        self.database.integrations.save(
            integration_id=uuid4(),
            organization_id=self.id,
            account=self.account,
            api_key=SecretStr("key"),
        )

    def sql(self, query: str, *arguments: Any) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(query.encode(), arguments)

    def add_callback(self, url: str, **given: Any) -> Callback:
        row: dict[str, Any] = {
            "id": str(uuid4()),
            "organization_id": str(self.id),
            "name": "",
            "url": url,
            "types": [],
            "integration_id": None,
            "secret": make_secret().get_secret_value(),
        }
        created = self.database.callbacks.create(row | given, 20)
        assert created
        return created

    def reload(self, callback: Callback) -> Callback:
        found = self.database.callbacks.find(callback.id, self.id)
        assert found
        return found

    def arrive(self, *texts: str, phone: str = "79990001122") -> None:
        """Record messages that arrive."""
        rows = [
            MessageOutcome(
                at=datetime.now(UTC),
                id=uuid4(),
                account=self.account,
                outgoing=False,
                phone=phone,
                text=text,
                status="delivered",
                wa_message_id=f"false_{phone}@c.us_{uuid4().hex.upper()}",
            )
            for text in texts
        ]
        self.database.outcomes.apply(
            [row.model_dump(mode="json", exclude_none=True) for row in rows]
        )

    def dispatch(self) -> None:
        """Append all new events to the lanes."""
        while self.dispatcher.dispatch()[1]:
            pass

    def work(self, most: int = 1000) -> int:
        """Handle what is ready, as a worker does; return how many claims there were."""
        count = 0
        while count < most and (claim := self.lanes.claim("callback", ClaimSequence())):
            self.lanes.conclude(claim, self.handle(claim))
            count += 1
        return count

    def handle(self, claim: Claim) -> ClaimResult:
        event: Any = ACTORS["callback"][1].model_validate_json(claim.body)
        ctx: Any = SimpleNamespace(lanes=self.lanes)
        return handle_claim(
            claim,
            lambda claim: handle_callback(event, claim, ctx, self.ours),
            lambda claim, reason, detail: dead_letter_callback(
                event, claim, reason, detail, self.ours
            ),
        )

    def pass_time(self) -> None:
        """Let all pauses end: those of lanes, and those of gates."""
        gates: Any = self.client.keys(keys.gate("*"))
        for gate in gates:
            self.lanes.open_gate(gate.decode().removeprefix(keys.gate("")))
        delayed: Any = self.client.zrange(keys.delayed("callback"), 0, -1)
        for lane in delayed:
            self.client.zadd(keys.delayed("callback"), {lane: 1})
        self.lanes.sweep("callback")
        self.ours = CallbackContext(self.ours.poster, self.database, self.patience)

    def deliveries(self, callback: Callback) -> list[Delivery]:
        """Return the attempts, the oldest first."""
        found = self.database.callbacks.list_deliveries(callback.id, self.id, None, 200)
        return list(reversed(found))


@pytest.fixture
def env(
    redis_client: redis.Redis, supabase_world: Supabase, database_url: str
) -> Iterator[CallbackEnv]:
    with httpx.Client(trust_env=False) as http:
        database = Database(supabase_settings(supabase_world), http)
        yield CallbackEnv(redis_client, database, database_url)

"""Fixtures: organizations with a connected number, and the outcomes that workers write."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from sandbox.supabase.migrate import migrate
from sandbox.supabase.project import MIGRATIONS, Supabase
from shared.outcomes import (
    EditOutcome,
    MessageOutcome,
    ReactionOutcome,
    SessionOutcome,
    StatusOutcome,
)

Db = psycopg.Connection[DictRow]
START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PHONE = "79990001122"


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


@dataclass
class Tenant:
    """An organization and its number; builds outcomes and applies them."""

    db: Db
    account: str
    id: UUID = field(default_factory=uuid4)
    integration: UUID = field(default_factory=uuid4)

    def connect(self) -> "Tenant":
        self.db.execute("insert into organizations (id, name) values (%s, 'School')", (self.id,))
        self.db.execute(
            "select wpp_save_integration(%s, %s, 'First', %s, 'key')",
            (self.integration, self.id, self.account),
        )
        return self

    def apply(self, *outcomes: Any) -> dict[str, Any]:
        rows = [
            each if isinstance(each, dict) else each.model_dump(mode="json") for each in outcomes
        ]
        answer = self.db.execute("select wpp_apply(%s) as answer", (Jsonb(rows),)).fetchone()
        assert answer
        return dict(answer["answer"])

    def retry(self) -> dict[str, Any]:
        """Try what is set aside again, as if its time had come; return the last result."""
        self.db.execute("update wpp.set_aside set retry_at = now()")
        answer: dict[str, Any] = {}
        while claimed := self.rows("select wpp_claim_set_aside(200) as it")[0]["it"]["claimed"]:
            (row,) = self.rows(
                "select wpp_apply_set_aside(%s, %s) as it", claimed["owner"], claimed["rows"]
            )
            answer = row["it"]
        return answer

    def aside(self) -> list[str]:
        """Return the owners that are set aside."""
        self.rows("select wpp_claim_set_aside(0)")
        return [row["owner"] for row in self.rows("select owner from wpp.set_aside order by 1")]

    def sent(self, status: Any = "sent", second: float = 0, **given: Any) -> MessageOutcome:
        """Return a message of our own."""
        defaults: dict[str, Any] = {"id": uuid4(), "phone": PHONE, "text": "Hello"}
        return MessageOutcome(
            at=at(second),
            organization_id=self.id,
            integration_id=self.integration,
            outgoing=True,
            status=status,
            **(defaults | given),
        )

    def arrived(self, second: float = 0, **given: Any) -> MessageOutcome:
        """Return a message that the platform reported; `outgoing=True`: written on the phone."""
        defaults: dict[str, Any] = {
            "id": uuid4(),
            "phone": PHONE,
            "text": "Hi",
            "outgoing": False,
            "status": "delivered",
        }
        return MessageOutcome(at=at(second), account=self.account, **(defaults | given))

    def status(self, status: Any, second: float, *ids: str, **given: Any) -> StatusOutcome:
        return StatusOutcome(
            at=at(second), account=self.account, external_ids=list(ids), status=status, **given
        )

    def session(self, status: Any, second: float, **given: Any) -> SessionOutcome:
        return SessionOutcome(
            at=at(second), account=self.account, status=status, **({"reason": "webhook"} | given)
        )

    def edit(self, text: str, second: float, *ids: str) -> EditOutcome:
        return EditOutcome(at=at(second), account=self.account, external_ids=list(ids), text=text)

    def reaction(
        self, emoji: str | None, second: float, *ids: str, outgoing: bool = False
    ) -> ReactionOutcome:
        return ReactionOutcome(
            at=at(second),
            account=self.account,
            external_ids=list(ids),
            emoji=emoji,
            outgoing=outgoing,
            phone=PHONE,
        )

    def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        return self.db.execute(query.encode(), arguments).fetchall()

    def messages(self) -> list[dict[str, Any]]:
        return self.rows(
            "select * from chat_messages where organization_id = %s order by created_at, id",
            self.id,
        )

    def message(self) -> dict[str, Any]:
        (only,) = self.messages()
        return only

    def clients(self) -> list[dict[str, Any]]:
        return self.rows(
            "select * from clients where organization_id = %s order by created_at, id", self.id
        )

    def add_client(self, phone: str | None, **given: Any) -> UUID:
        columns: dict[str, Any] = {
            "id": uuid4(),
            "organization_id": self.id,
            "name": "Anna",
            "phone": phone,
        } | given
        names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, columns))
        places = psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(columns))
        self.db.execute(
            psycopg.sql.SQL("insert into clients ({}) values ({})").format(names, places),
            list(columns.values()),
        )
        return UUID(str(columns["id"]))


@pytest.fixture
def db(database_url: str) -> Iterator[Db]:
    """Return a connection of the tables' owner in autocommit mode; all tables are empty."""
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def tenant(db: Db) -> Tenant:
    return Tenant(db, "0000000000041").connect()


@pytest.fixture
def other(db: Db) -> Tenant:
    return Tenant(db, "0000000000042").connect()


@pytest.fixture
def untouched(supabase_world: Supabase) -> Iterator[Db]:
    """Return a connection to a new database, whose tables Postgres has no statistics of."""
    name = "effort"
    with psycopg.connect(supabase_world.postgres.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} owner postgres").format(sql.Identifier(name)))
        url = psycopg.conninfo.make_conninfo(supabase_world.database_url, dbname=name)
        with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
            connection.execute("create schema auth")
            connection.execute(
                "create function auth.uid() returns uuid language sql as 'select null::uuid'"
            )
            migrate(url, MIGRATIONS)
            yield connection
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

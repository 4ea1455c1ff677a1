"""Events per second written to Supabase: in batches through one SQL function, and singly."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from pydantic import HttpUrl, SecretStr

from bench.webhook_load.servers import ACCOUNT
from sandbox.supabase.project import Supabase
from shared.database import Database
from shared.database.connection import Connection
from shared.events import utc_now
from shared.outcomes import LogOutcome, MessageOutcome, Outcome
from shared.settings import SupabaseSettings

CONTACTS = 200
BATCH = 200
"""Rows, as the recorder reads them. A message and its log entry are two rows."""
TOOLS = Path(__file__).parents[2] / ".local" / "tools"


class EventWriter:
    """An organization with an integration in a Supabase project, and two ways to write events."""

    def __init__(self, project: Supabase, http: httpx.Client) -> None:
        self.project = project
        settings = SupabaseSettings(
            supabase_url=HttpUrl(project.url),
            supabase_anon_key=SecretStr(project.anon_key),
            supabase_service_role_key=SecretStr(project.service_role_key),
        )
        self.database = Database(settings, http)
        self.client = Connection(settings, http).client
        self.organization, self.integration = uuid4(), uuid4()
        self.sql("insert into organizations (id, name) values (%s, 'School')", self.organization)
        self.database.integrations.save(
            integration_id=self.integration, organization_id=self.organization, account=ACCOUNT
        )

    def sql(self, query: str, *arguments: Any) -> None:
        with psycopg.connect(self.project.database_url) as connection:
            connection.execute(query.encode(), arguments)

    def write_batches(self, events: Sequence[tuple[UUID, str]]) -> None:
        rows = [row for event in events for row in map(_row, _outcomes(*event))]
        for start in range(0, len(rows), BATCH):
            self.database.outcomes.apply(rows[start : start + BATCH])

    def write_singly(self, events: Sequence[tuple[UUID, str]]) -> None:
        for event in events:
            message, log = _outcomes(*event)
            client_id = self._contact(message.phone)
            row = {
                "id": str(message.id),
                "organization_id": str(self.organization),
                "client_id": client_id,
                "integration_id": str(self.integration),
                "message_text": message.text,
                "message_type": "client",
                "messenger_type": "whatsapp",
                "message_status": "delivered",
                "external_message_id": message.wa_message_id,
                "created_at": message.at.isoformat(),
            }
            self.client.table("chat_messages").insert(row).execute()
            self.client.table("clients").update({"last_message_at": row["created_at"]}).eq(
                "id", client_id
            ).execute()
            entry = _row(log) | {"organization_id": str(self.organization)}
            self.client.table("wpp_webhook_log").insert(
                {name: value for name, value in entry.items() if name not in {"v", "type"}}
            ).execute()

    def _contact(self, phone: str) -> str:
        table = self.client.table("clients")
        known: Any = (
            table.select("id")
            .eq("organization_id", str(self.organization))
            .eq("phone", phone)
            .execute()
            .data
        )
        if not known:
            fresh = {"organization_id": str(self.organization), "name": phone, "phone": phone}
            known = self.client.table("clients").insert(fresh).execute().data
        return str(known[0]["id"])


@contextmanager
def open_writer() -> Iterator[EventWriter]:
    with TemporaryDirectory(prefix="wpp-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # Postgres runs as a different user than root
        with (
            Supabase(directory, tools=TOOLS) as project,
            httpx.Client(timeout=30, trust_env=False) as http,
        ):
            yield EventWriter(project, http)


def measure_rate(write: Callable[[Sequence[tuple[UUID, str]]], None], events: int) -> float:
    """Return the events per second that `write` writes. Each is new, for a few contacts."""
    posted = [(uuid4(), f"7999{number % CONTACTS:07}") for number in range(events)]
    began = time.monotonic()
    write(posted)
    return events / (time.monotonic() - began)


def _outcomes(event_id: UUID, phone: str) -> tuple[MessageOutcome, LogOutcome]:
    at, text, wa = (
        utc_now(),
        "Good morning! When is the next lesson, please?",
        f"false_{event_id.hex}",
    )
    message = MessageOutcome(
        at=at,
        id=event_id,
        account=ACCOUNT,
        outgoing=False,
        phone=phone,
        text=text,
        status="delivered",
        wa_message_id=wa,
    )
    payload = {
        "account": ACCOUNT,
        "from": f"+{phone}",
        "type": "chat",
        "text": text,
        "messageId": wa,
    }
    return message, LogOutcome(
        at=at, id=event_id, account=ACCOUNT, event_type="chat", payload=payload, became="message"
    )


def _row(outcome: Outcome) -> dict[str, Any]:
    return outcome.model_dump(mode="json", exclude_none=True)

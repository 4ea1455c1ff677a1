"""Two ways to write outcomes to Supabase, and the CPU time that Postgres takes for them."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import httpx
import psutil
import psycopg
from pydantic import HttpUrl, SecretStr

from bench.recording_load.life_cycles import Number, Rows
from sandbox.supabase.project import Supabase
from shared.database import Database
from shared.database.connection import Connection
from shared.http.transports import PooledTransport
from shared.outbox import BATCH_ROWS
from shared.settings import SupabaseSettings

TOOLS = Path(__file__).parents[2] / ".local" / "tools"


@dataclass(frozen=True)
class Cost:
    """What outcomes cost: `cpu_us` of Postgres' backends, `own_cpu_us` of the writing threads."""

    outcomes: int
    seconds: float
    cpu_us: float
    own_cpu_us: float

    @property
    def rate(self) -> float:
        return self.outcomes / self.seconds


class OutcomeStore:
    """A Supabase project with connected numbers."""

    def __init__(self, project: Supabase) -> None:
        self.project = project
        self.settings = SupabaseSettings(
            supabase_url=HttpUrl(project.url),
            supabase_anon_key=SecretStr(project.anon_key),
            supabase_service_role_key=SecretStr(project.service_role_key),
        )

    def sql(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.project.postgres.admin_url) as connection:
            cursor = connection.execute(query.encode(), arguments or None)
            return cursor.fetchall() if cursor.description else []

    def vacuum(self, table: str) -> None:
        with psycopg.connect(self.project.postgres.admin_url, autocommit=True) as connection:
            connection.execute(f"vacuum analyze {table}".encode())

    def connect_number(self, account: str, people: int, first_person: int = 0) -> Number:
        number = Number(uuid4(), uuid4(), account, people, first_person)
        self.sql("insert into organizations (id, name) values (%s, 'School')", number.organization)
        Database(self.settings).integrations.save(
            integration_id=number.integration,
            organization_id=number.organization,
            account=account,
        )
        return number

    def measure_batches(self, shares: Sequence[Rows]) -> Cost:
        """Write as the recorder does, each share by a recorder of its own."""
        databases = [Database(self.settings) for _ in shares]
        for database in databases:
            database.outcomes.apply([])
        with self._measure(sum(map(len, shares))) as (own_cpu, costs):

            def record(index: int) -> None:
                began = time.thread_time()
                rows = shares[index]
                for start in range(0, len(rows), BATCH_ROWS):
                    databases[index].outcomes.apply(rows[start : start + BATCH_ROWS])
                own_cpu.append(time.thread_time() - began)

            with ThreadPoolExecutor(len(shares)) as threads:
                list(threads.map(record, range(len(shares))))
        return costs[0]

    def measure_singly(self, number: Number, rows: Rows) -> Cost:
        """Write row by row with one client, as supabase-py is used without a batch function."""
        with httpx.Client(transport=PooledTransport(4, 5.0), timeout=30) as http:
            writer = SingleWriter(Connection(self.settings, http).client, number)
            with self._measure(len(rows)) as (own_cpu, costs):
                began = time.thread_time()
                for row in rows:
                    writer.write(row)
                own_cpu.append(time.thread_time() - began)
        return costs[0]

    @contextmanager
    def _measure(self, outcomes: int) -> Iterator[tuple[list[float], list[Cost]]]:
        own_cpu: list[float] = []
        costs: list[Cost] = []
        before, began = self._backends(), time.monotonic()
        yield own_cpu, costs
        seconds = time.monotonic() - began
        after = self._backends()
        cpu = sum(used - before.get(pid, 0) for pid, used in after.items())
        costs.append(Cost(outcomes, seconds, 1e6 * cpu / outcomes, 1e6 * sum(own_cpu) / outcomes))

    def _backends(self) -> dict[int, float]:
        """Return the CPU seconds of each process that serves PostgREST."""
        pids = self.sql("select pid from pg_stat_activity where application_name ~* 'postgrest'")
        times = {pid: psutil.Process(pid).cpu_times() for (pid,) in pids}
        return {pid: used.user + used.system for pid, used in times.items()}


class SingleWriter:
    """Writes each outcome with the calls that a plain webhook handler makes."""

    def __init__(self, client: Any, number: Number) -> None:
        self._client = client
        self._number = number

    def write(self, row: dict[str, Any]) -> None:
        if row["type"] == "message":
            self._write_message(row)
        elif row["type"] == "status":
            self._write_status(row)
        else:
            self._insert(
                "wpp_webhook_log",
                {name: value for name, value in row.items() if name not in {"v", "type"}},
            )

    def _write_message(self, row: dict[str, Any]) -> None:
        client_id = self._find_contact(row["phone"])
        message = {
            "id": row["id"],
            "client_id": client_id,
            "integration_id": str(self._number.integration),
            "message_text": row["text"],
            "message_type": "manager" if row["outgoing"] else "client",
            "messenger_type": "whatsapp",
            "is_outgoing": row["outgoing"],
            "message_status": row["status"],
            "external_message_id": row.get("task_id") or row.get("wa_message_id"),
            "created_at": row["at"],
        }
        self._insert("chat_messages", message)
        touched = {"last_message_at": row["at"]}
        self._client.table("clients").update(touched).eq("id", client_id).execute()

    def _write_status(self, row: dict[str, Any]) -> None:
        found = (
            self._client.table("chat_messages")
            .select("id, message_status")
            .eq("external_message_id", row["task_id"])
            .execute()
            .data
        )
        for message in found:
            changed = {"message_status": row["status"]}
            query = self._client.table("chat_messages").update(changed)
            query.eq("id", message["id"]).execute()

    def _find_contact(self, phone: str) -> str:
        known = (
            self._client.table("clients")
            .select("id")
            .eq("organization_id", str(self._number.organization))
            .eq("phone", phone)
            .execute()
            .data
        )
        return str((known or self._insert("clients", {"name": phone, "phone": phone}))[0]["id"])

    def _insert(self, table: str, row: dict[str, Any]) -> list[dict[str, Any]]:
        owned = row | {"organization_id": str(self._number.organization)}
        inserted: list[dict[str, Any]] = self._client.table(table).insert(owned).execute().data
        return inserted


@contextmanager
def open_store() -> Iterator[OutcomeStore]:
    with TemporaryDirectory(prefix="wpp-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # Postgres runs as a different user than root
        with Supabase(directory, tools=TOOLS) as project:
            yield OutcomeStore(project)

"""What all sides share: Postgres + PostgREST behind the gateway, and the stand-in of the platform.

Each side has organizations of its own, so that its rows can be told from the rest. A trigger notes
when a row reaches a status: the same for every side.
"""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import httpx
import psutil
import psycopg
from pydantic import HttpUrl, SecretStr

from bench.engine_sides.place import family_cpu_s
from bench.engine_sides.played import running
from bench.pipeline_sides.load import Sent, Task
from bench.webhook_load.writes import TOOLS
from sandbox.pipeline import ROOT
from sandbox.ports import LOCALHOST
from sandbox.supabase.project import Supabase
from shared.database import Database
from shared.settings import SupabaseSettings
from tests.fixtures.service_keys import store_key

POSTGRES, POSTGREST = "Postgres", "PostgREST"
NOTES = """
create schema bench;
create unlogged table bench.notes (
  message_id uuid, status text, at timestamptz default clock_timestamp()
);
create function bench.note() returns trigger language plpgsql security definer as $$
begin
  insert into bench.notes (message_id, status) values (new.id, new.message_status);
  return null;
end $$;
create trigger bench_note_new after insert on public.chat_messages
  for each row execute function bench.note();
create trigger bench_note after update of message_status on public.chat_messages
  for each row when (old.message_status is distinct from new.message_status)
  execute function bench.note();
"""


@dataclass(frozen=True)
class Organization:
    id: UUID
    integration_id: UUID
    account: str
    key: str


@dataclass(frozen=True)
class Row:
    """A row of `chat_messages`, and when it reached each status."""

    organization_id: UUID
    text: str
    status: str | None
    external_id: str | None
    reached: dict[str, float]


class World:
    def __init__(self, project: Supabase, platform: str, http: httpx.Client) -> None:
        self.project, self.platform = project, platform
        self._http = http
        self._accounts = 0
        settings = SupabaseSettings(
            supabase_url=HttpUrl(project.url),
            supabase_anon_key=SecretStr(project.anon_key),
            supabase_service_role_key=SecretStr(project.service_role_key),
        )
        self._database = Database(settings, http)
        self.sql(NOTES)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SUPABASE_URL": self.project.url,
            "SUPABASE_ANON_KEY": self.project.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": self.project.service_role_key,
            "WPP_BASE_URL": self.platform,
        }

    def sql(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.project.database_url) as connection:
            done = connection.execute(query.encode(), arguments or None)
            return done.fetchall() if done.description else []

    def add_organizations(self, count: int) -> list[Organization]:
        """Make organizations with a connected number and a service key each."""
        return [self._add_organization() for _ in range(count)]

    def _add_organization(self) -> Organization:
        self._accounts += 1
        account = f"{self._accounts:013}"
        organization_id, integration_id = uuid4(), uuid4()
        self.sql("insert into organizations (id, name) values (%s, 'School')", organization_id)
        self._database.integrations.save(
            integration_id=integration_id,
            organization_id=organization_id,
            account=account,
            api_key=SecretStr(account),
        )
        self.sql(
            "update whatsapp_sessions set status = 'connected' where session_name = %s",
            f"wpp_{account}",
        )
        key = store_key(self.project.database_url, organization_id)
        return Organization(organization_id, integration_id, account, key)

    def plan(self, hooks: dict[str, str], late_s: float = 0.05) -> None:
        """Tell the platform where to post events, and let it forget all messages."""
        self._http.post(
            f"{self.platform}/plan", json={"hooks": hooks, "late_s": late_s}
        ).raise_for_status()

    def ledger(self) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get(f"{self.platform}/ledger").json()
        return found

    def rows(self, organizations: Sequence[Organization], label: str) -> list[Row]:
        """Return the rows of the messages of a load."""
        query = """
            select m.organization_id, m.message_text, m.message_status, m.external_message_id,
                   (select jsonb_object_agg(n.status, n.at) from (
                      select status, extract(epoch from min(at)) as at from bench.notes
                      where message_id = m.id and status is not null group by 1) n)
            from public.chat_messages m
            where m.organization_id = any(%s) and m.message_text like %s
        """
        ids = [each.id for each in organizations]
        return [
            Row(organization_id, text, status, external_id, reached or {})
            for organization_id, text, status, external_id, reached in self.sql(
                query, ids, f"% {label}-%"
            )
        ]

    def cpu_by_name(self) -> dict[str, float]:
        """Return the CPU seconds of Postgres and PostgREST so far."""
        found: dict[str, float] = defaultdict(float)
        for child in psutil.Process().children():
            program = child.name().partition("-")[0]  # PostgREST's name has its version
            if name := {"postgres": POSTGRES, "postgrest": POSTGREST}.get(program):
                found[name] += family_cpu_s(child.pid)
        return found


def send(task: Task) -> list[Sent]:
    """Send messages from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.pipeline_sides.load"],
        cwd=ROOT,
        input=json.dumps(asdict(task)),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return [Sent(**each) for each in json.loads(done.stdout)]


@contextmanager
def open_world() -> Iterator[World]:
    with TemporaryDirectory(prefix="wpp-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # Postgres runs as a different user than root
        with (
            running("bench.pipeline_sides.platform") as port,
            Supabase(directory, tools=TOOLS) as project,
            httpx.Client(timeout=30, trust_env=False) as http,
        ):
            yield World(project, f"http://{LOCALHOST}:{port}", http)

"""A whole Supabase project on this machine: Postgres, PostgREST and the gateway, started together."""

import contextlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from sandbox.ports import LOCALHOST, free_port
from sandbox.processes import Process, Program, Progress, serves
from sandbox.supabase import binary, migrate
from sandbox.supabase.postgres import Postgres
from sandbox.supabase.tokens import SERVICE_ROLE, Secrets

MIGRATIONS = Path(__file__).parents[2] / "supabase" / "migrations"
BOOTSTRAP = Path(__file__).with_name("bootstrap.sql")
MAX_ROWS = 1000  # a hosted project's default for one answer
READY_WITHIN_S = 30.0


@dataclass(frozen=True)
class Ports:
    """Where the three listen on 127.0.0.1; `gateway` is the project's address."""

    gateway: int = field(default_factory=free_port)
    postgres: int = field(default_factory=free_port)
    postgrest: int = field(default_factory=free_port)


class Supabase:
    """A project whose data lives in `directory`, whose programs are installed in `tools`.

    Use as a context manager, or start and stop it. `durable=False` skips fsync, for tests.
    """

    def __init__(  # noqa: PLR0913 - each has its default
        self,
        directory: Path,
        *,
        tools: Path,
        ports: Ports | None = None,
        secrets: Secrets | None = None,
        migrations: Path = MIGRATIONS,
        durable: bool = True,
        say: Progress = lambda _: None,
    ) -> None:
        self.ports = ports or Ports()
        self.secrets = secrets or Secrets()
        self.postgres = Postgres(
            directory / "postgres", self.ports.postgres, self.secrets.postgres, durable=durable
        )
        self._directory = directory
        self._tools = tools
        self._migrations = migrations
        self._say = say
        self._running: list[Process] = []

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.ports.gateway}"

    @property
    def anon_key(self) -> str:
        return self.secrets.key("anon")

    @property
    def service_role_key(self) -> str:
        return self.secrets.key(SERVICE_ROLE)

    @property
    def database_url(self) -> str:
        """Postgres itself, as the role `postgres`: the owner of what migrations make, no superuser."""
        return self.postgres.url_for("postgres", self.secrets.postgres)

    def start(self) -> None:
        """Start everything, bring the schema up to date, wait until it all answers.

        Raises:
            SandboxError: a part could not be had or started, or a migration failed; nothing is left running.
        """
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            with ThreadPoolExecutor(1) as aside:
                postgrest = aside.submit(binary.postgrest, self._tools, self._say)
                gateway = self._launch_gateway()
                self.postgres.start()
                self._prepare()
                rest = self._launch_postgrest(postgrest.result())
            rest.wait_until(
                serves(f"http://{LOCALHOST}:{self.ports.postgrest}/"), within_s=READY_WITHIN_S
            )
            gateway.wait_until(serves(f"{self.url}/health"), within_s=READY_WITHIN_S)
            undo.pop_all()

    def check(self) -> None:
        """Raises SandboxError if one of the three has stopped by itself."""
        self.postgres.check()
        for process in self._running:
            process.check()

    def stop(self) -> None:
        while self._running:
            self._running.pop().stop()
        self.postgres.stop()

    def _prepare(self) -> None:
        """Give the database what hosted Supabase brings, then apply the migrations."""
        with psycopg.connect(self.postgres.admin_url, autocommit=True) as connection:
            connection.execute(BOOTSTRAP.read_bytes())
            for role, password in (
                ("authenticator", self.secrets.authenticator),
                ("postgres", self.secrets.postgres),
            ):
                alter = sql.SQL("alter role {} password {}").format(
                    sql.Identifier(role), sql.Literal(password)
                )
                connection.execute(alter)
        for name in migrate.migrate(self.database_url, self._migrations):
            self._say(f"migrated: {name}")

    def _launch_postgrest(self, path: Path) -> Process:
        settings = {
            "PGRST_DB_URI": self.postgres.url_for("authenticator", self.secrets.authenticator),
            "PGRST_DB_SCHEMAS": "public",
            "PGRST_DB_EXTRA_SEARCH_PATH": "public,extensions",
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_MAX_ROWS": str(MAX_ROWS),
            "PGRST_JWT_SECRET": self.secrets.jwt,
            "PGRST_SERVER_HOST": LOCALHOST,
            "PGRST_SERVER_PORT": str(self.ports.postgrest),
        }
        return self._launch("PostgREST", (str(path),), self.ports.postgrest, settings)

    def _launch_gateway(self) -> Process:
        settings = {
            "GATEWAY_DATABASE_URL": self.postgres.admin_url,
            "GATEWAY_JWT_SECRET": self.secrets.jwt,
            "GATEWAY_STORAGE_SECRET": self.secrets.storage,
            "GATEWAY_ANON_KEY": self.anon_key,
            "GATEWAY_SERVICE_ROLE_KEY": self.service_role_key,
        }
        module = (
            sys.executable,
            "-m",
            "sandbox.supabase.gateway",
            str(self.ports.gateway),
            str(self.ports.postgrest),
        )
        return self._launch("the Supabase gateway", module, self.ports.gateway, settings)

    def _launch(
        self, name: str, command: tuple[str, ...], port: int, settings: dict[str, str]
    ) -> Process:
        log = self._directory / f"{name.rpartition(' ')[2].lower()}.log"
        process = Process(Program(name, command, log, port, environment={**os.environ, **settings}))
        self._running.append(process)
        return process

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

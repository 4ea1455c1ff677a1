"""A whole Supabase project on this machine: Postgres, PostgREST and the gateway."""

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
from sandbox.processes import Program, Progress, responds_ok
from sandbox.services import Service
from sandbox.supabase import binary, migrate
from sandbox.supabase.postgres import Postgres
from sandbox.supabase.tokens import SERVICE_ROLE, Secrets

MIGRATIONS = Path(__file__).parents[2] / "supabase" / "migrations"
BOOTSTRAP = Path(__file__).with_name("bootstrap.sql")
MAX_ROWS = 1000  # a hosted project's default for an answer


@dataclass(frozen=True)
class Ports:
    """The ports on 127.0.0.1; `gateway` is the project's address."""

    gateway: int = field(default_factory=free_port)
    postgres: int = field(default_factory=free_port)
    postgrest: int = field(default_factory=free_port)
    ingress: int | None = None
    """Where /functions/v1 is answered, if anywhere."""


class HttpService(Service):
    """A program with its settings in the environment; `path` answers 200 once it is ready."""

    def __init__(self, program: Program, path: str) -> None:
        self._program = program
        self._path = path

    def _make_program(self) -> Program:
        return self._program

    def _answers(self) -> bool:
        return responds_ok(f"http://{LOCALHOST}:{self._program.port}{self._path}")


class Supabase:
    """A project with its data in `directory` and its installed programs in `tools`.

    Use it as a context manager, or start and stop it. `durable=False` skips fsync, for tests.
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
        report: Progress = lambda _: None,
    ) -> None:
        self.ports = ports or Ports()
        self.secrets = secrets or Secrets()
        self.postgres = Postgres(
            directory / "postgres", self.ports.postgres, self.secrets.postgres, durable=durable
        )
        self._directory = directory
        self._tools = tools
        self._migrations = migrations
        self._report = report
        self._services: list[Service] = [self.postgres]

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.ports.gateway}"

    @property
    def anon_key(self) -> str:
        return self.secrets.make_api_key("anon")

    @property
    def service_role_key(self) -> str:
        return self.secrets.make_api_key(SERVICE_ROLE)

    @property
    def database_url(self) -> str:
        """Postgres itself, as the role `postgres`: owner of what migrations make, no superuser."""
        return self.postgres.url_for("postgres", self.secrets.postgres)

    def start(self) -> None:
        """Start the services, apply the migrations, wait until each service answers.

        Raises:
            SandboxError: a part could not be installed or started, or a migration failed; what
                was started is stopped.
        """
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            with ThreadPoolExecutor(1) as executor:
                postgrest = executor.submit(binary.find_postgrest, self._tools, self._report)
                gateway = self._launch(self._make_gateway())
                self.postgres.start()
                self._prepare_database()
                rest = self._launch(self._make_postgrest(postgrest.result()))
            rest.wait()
            gateway.wait()
            undo.pop_all()

    def check(self) -> None:
        """Raise SandboxError if a part has ended by itself."""
        for service in self._services:
            service.check()

    def stop(self) -> None:
        for service in reversed(self._services):
            service.stop()
        self._services = [self.postgres]

    def _launch(self, service: Service) -> Service:
        service.launch()
        self._services.append(service)
        return service

    def _prepare_database(self) -> None:
        """Create what hosted Supabase brings, then apply the migrations."""
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
            self._report(f"migrated: {name}")

    def _make_postgrest(self, executable: Path) -> HttpService:
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
        program = Program(
            "PostgREST",
            (str(executable),),
            self._directory / "postgrest.log",
            self.ports.postgrest,
            environment={**os.environ, **settings},
        )
        return HttpService(program, "/")

    def _make_gateway(self) -> HttpService:
        settings = {
            "GATEWAY_DATABASE_URL": self.postgres.admin_url,
            "GATEWAY_JWT_SECRET": self.secrets.jwt,
            "GATEWAY_STORAGE_SECRET": self.secrets.storage,
            "GATEWAY_ANON_KEY": self.anon_key,
            "GATEWAY_SERVICE_ROLE_KEY": self.service_role_key,
        }
        ports = (self.ports.gateway, self.ports.postgrest, self.ports.ingress)
        arguments = (str(port) for port in ports if port)
        program = Program(
            "the Supabase gateway",
            (sys.executable, "-m", "sandbox.supabase.gateway", *arguments),
            self._directory / "gateway.log",
            self.ports.gateway,
            environment={**os.environ, **settings},
        )
        return HttpService(program, "/health")

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

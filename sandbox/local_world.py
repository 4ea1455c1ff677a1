"""The local world: Redis, Supabase and the platform's sandbox.

A part whose address is set (REDIS_URL, SUPABASE_URL, WPP_BASE_URL) is real and is used as it is.
The missing parts are started.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from dotenv import dotenv_values

from sandbox.errors import PortTakenError, SettingError
from sandbox.lock import lock_directory
from sandbox.platform.process import PlatformProcess
from sandbox.ports import LOCALHOST, claim_port, free_port
from sandbox.processes import Progress
from sandbox.redis import RedisServer
from sandbox.secrets import Secrets
from sandbox.services import Service
from sandbox.supabase import project
from sandbox.supabase.project import MIGRATIONS, Supabase
from sandbox.supabase.seed import EMAIL, PASSWORD, seed
from shared.errors import ConfigurationError
from shared.stop_signals import exit_on_stop_signals, ignore_stop_signals

FIRST_PORT = 8000
LAST_PORT = 65_535
REQUIRED_WITH = {
    "SUPABASE_URL": ("SUPABASE_ANON_KEY", "SUPABASE_SERVICE_ROLE_KEY"),
    "WPP_BASE_URL": ("WPP_SECRET", "WPP_PUBLIC_URL"),  # a real platform cannot reach 127.0.0.1
}
"""Which variables must be set together with the address of a real part."""


class Part(Protocol):
    """A started part of the world."""

    def check(self) -> None: ...


@dataclass(frozen=True)
class Ports:
    """The ports on 127.0.0.1. `ingress` is reserved for the process that runs the Procfile."""

    ingress: int
    supabase: int
    platform: int
    redis: int
    postgres: int
    postgrest: int

    @classmethod
    def from_first(cls, first: int) -> Self:
        """Return six consecutive ports."""
        return cls(*range(first, first + 6))

    @classmethod
    def free(cls) -> Self:
        return cls(*(free_port() for _ in range(6)))


class LocalWorld:
    """The servers that the pipeline needs, inside a `with` block that stops them at its end.

    `with LocalWorld(directory) as environment` gives the variables for child processes:
    REDIS_URL, SUPABASE_URL, SUPABASE_ANON_KEY, SUPABASE_SERVICE_ROLE_KEY, WPP_BASE_URL,
    WPP_SECRET, WPP_KEY_SECRETS, WPP_PUBLIC_URL, PORT (of the ingress). Data, logs, tools and
    secrets are in `directory`. SIGTERM ends the block as Ctrl-C does.

    Raises on entering:
        SandboxError: a part could not be installed or started; what was started is stopped.
        SettingError: a setting is missing.
        PortTakenError: another program listens on a port of the world.
    """

    def __init__(  # noqa: PLR0913 - each has its default
        self,
        directory: Path,
        *,
        ports: Ports | None = None,
        environment: Mapping[str, str] | None = None,
        durable: bool = True,
        tools: Path | None = None,
        migrations: Path = MIGRATIONS,
        report: Progress = print,
    ) -> None:
        self.directory = directory.resolve()
        self.given = _load_environment() if environment is None else environment
        """The settings from outside, which come before those of the world."""
        self.ports = ports or Ports.from_first(_read_first_port(self.given))
        self.database_url: str | None = None
        """The local Postgres; None with a real Supabase."""
        self.service_key: str | None = None
        """The demo organization's service key; None with a real Supabase."""
        self.operator_key: str | None = None
        """Opens the console; None with a real Supabase."""
        self._durable = durable
        self._tools = tools or self.directory / "tools"
        self._migrations = migrations
        self._report = report
        self._undo = contextlib.ExitStack()
        self._parts: list[Part] = []

    def __enter__(self) -> dict[str, str]:
        with contextlib.ExitStack() as undo:
            undo.enter_context(exit_on_stop_signals())
            undo.enter_context(lock_directory(self.directory))
            environment = self._start(undo)
            self._undo = undo.pop_all()
        return environment

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with ignore_stop_signals():
            self._undo.close()

    @property
    def has_platform_sandbox(self) -> bool:
        return not self.given.get("WPP_BASE_URL")

    def check(self) -> None:
        """Raise SandboxError, with the end of its log, if a started part has ended by itself."""
        for part in self._parts:
            part.check()

    def _start(self, undo: contextlib.ExitStack) -> dict[str, str]:
        self._require_variables()
        secrets = Secrets.load_or_create(self.directory / "secrets.json")
        defaults = {
            "WPP_KEY_SECRETS": secrets.keys,
            "WPP_PUBLIC_URL": f"http://{LOCALHOST}:{self.ports.ingress}",
            "PORT": str(self.ports.ingress),
            # the platform's sandbox serves media from a private address, a developer files
            "WPP_MEDIA_PRIVATE_HOSTS": f"{LOCALHOST},localhost",
            "WPP_CALLBACK_PRIVATE_HOSTS": f"{LOCALHOST},localhost",
        }
        environment = {name: self.given.get(name) or value for name, value in defaults.items()}
        try:
            claim_port("the ingress", _read_port(environment["PORT"]))
            return environment | self._start_parts(secrets, undo)
        except PortTakenError as error:
            first = self.ports.ingress + 100
            msg = f"{error} (WPP_FIRST_PORT={first} moves the whole local world)"
            raise PortTakenError(msg) from None

    def _require_variables(self) -> None:
        for address, required in REQUIRED_WITH.items():
            if not self.given.get(address):
                continue
            missing = [name for name in required if not self.given.get(name)]
            if missing:
                names = " and ".join(missing)
                msg = f"{address} is set, so {names} must be set too. See .env.example."
                raise SettingError(msg)

    def _start_parts(self, secrets: Secrets, undo: contextlib.ExitStack) -> dict[str, str]:
        """Launch Redis and the platform, start Supabase (the slowest), then wait for both."""
        environment: dict[str, str] = {}
        launched: list[Service] = []
        redis = RedisServer(self.directory / "redis", self.ports.redis)
        platform = PlatformProcess(
            self.directory / "platform", self.ports.platform, secrets.platform
        )
        services: tuple[tuple[Service, str, dict[str, str]], ...] = (
            (redis, "Redis", {"REDIS_URL": redis.url}),
            (
                platform,
                "the platform's sandbox",
                {"WPP_BASE_URL": platform.url, "WPP_SECRET": secrets.platform},
            ),
        )
        for service, name, variables in services:
            address = next(iter(variables))
            if self.given.get(address):
                environment |= self._use_real_part(address)
                continue
            self._report(f"starting {name}")
            self._parts.append(service)
            undo.callback(service.stop)
            service.launch()
            launched.append(service)
            environment |= variables
        if self.given.get("SUPABASE_URL"):
            environment |= self._use_real_part("SUPABASE_URL")
        else:
            environment |= self._start_supabase(secrets, undo)
        for service in launched:
            service.wait()
        return environment

    def _start_supabase(self, secrets: Secrets, undo: contextlib.ExitStack) -> dict[str, str]:
        ingress_port = int(self.given.get("PORT") or self.ports.ingress)
        self._report("starting Supabase: Postgres, PostgREST and the gateway")
        supabase = Supabase(
            self.directory,
            tools=self._tools,
            ports=project.Ports(
                self.ports.supabase, self.ports.postgres, self.ports.postgrest, ingress_port
            ),
            secrets=secrets.supabase,
            migrations=self._migrations,
            durable=self._durable,
            report=self._report,
        )
        self._parts.append(supabase)
        undo.callback(supabase.stop)
        supabase.start()
        seed(supabase.postgres.admin_url, secrets.service_key, secrets.operator_key)
        self.service_key = secrets.service_key
        self.operator_key = secrets.operator_key
        self.database_url = supabase.database_url
        return {
            "SUPABASE_URL": supabase.url,
            "SUPABASE_ANON_KEY": supabase.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": supabase.service_role_key,
            "WPP_DEMO_USER": f"{EMAIL}:{PASSWORD}",
        }

    def _use_real_part(self, address: str) -> dict[str, str]:
        """Return the variables of a real part."""
        self._report(f"{address} is set: using that")
        return {name: self.given[name] for name in (address, *REQUIRED_WITH.get(address, ()))}


def _read_port(text: str) -> int:
    """Return PORT; raises ConfigurationError for a number that no port has."""
    if not text.isdecimal() or not 1 <= int(text) <= LAST_PORT:
        msg = f"PORT: {text!r} is no port: give a number from 1 to {LAST_PORT}"
        raise ConfigurationError(msg)
    return int(text)


def _read_first_port(given: Mapping[str, str]) -> int:
    """Return WPP_FIRST_PORT; raises ConfigurationError for a number that no port has."""
    text = given.get("WPP_FIRST_PORT") or str(FIRST_PORT)
    last = LAST_PORT - len(fields(Ports)) + 1
    if not text.isdecimal() or not 1 <= int(text) <= last:
        msg = f"WPP_FIRST_PORT: {text!r} is no first port of six: give a number from 1 to {last}"
        raise ConfigurationError(msg)
    return int(text)


def _load_environment() -> dict[str, str]:
    """Return the environment and what `.env` adds to it, as the settings read them."""
    from_file = {name: value for name, value in dotenv_values(".env").items() if value}
    return from_file | dict(os.environ)

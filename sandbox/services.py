"""The local world: Redis, Supabase and the platform, each started here unless its address is set.

A part whose variable is set (REDIS_URL, SUPABASE_URL, WPP_BASE_URL) is the real one: it is left alone.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from dotenv import dotenv_values

from sandbox import ports
from sandbox.errors import PortTakenError, SandboxError
from sandbox.lock import exit_on_stop_signals, ignore_stop_signals, lock_directory
from sandbox.ports import LOCALHOST, free_port
from sandbox.processes import Progress
from sandbox.redis import RedisServer
from sandbox.run import PlayedPlatform
from sandbox.secrets import Secrets
from sandbox.supabase import project
from sandbox.supabase.project import MIGRATIONS, Supabase
from sandbox.supabase.seed import EMAIL, PASSWORD, seed

FIRST_PORT = 8000
NEEDED_WITH = {  # what has to be set along with a real part's address
    "SUPABASE_URL": ("SUPABASE_ANON_KEY", "SUPABASE_SERVICE_ROLE_KEY"),
    "WPP_BASE_URL": ("WPP_SECRET", "WPP_PUBLIC_URL"),  # a real platform does not reach 127.0.0.1
}


@dataclass(frozen=True)
class Ports:
    """Where everything listens on 127.0.0.1. `ingress` is kept for whoever runs the Procfile."""

    ingress: int
    supabase: int
    platform: int
    redis: int
    postgres: int
    postgrest: int

    @classmethod
    def from_first(cls, first: int) -> Self:
        """Return six ports in a row."""
        return cls(*range(first, first + 6))

    @classmethod
    def free(cls) -> Self:
        return cls(*(free_port() for _ in range(6)))


class World:
    """Everything that the pipeline needs, inside a `with` block; at its end all that was started is stopped.

    `with World(directory) as environment` gives the variables for child processes: REDIS_URL, SUPABASE_URL,
    SUPABASE_ANON_KEY, SUPABASE_SERVICE_ROLE_KEY, WPP_BASE_URL, WPP_SECRET, WPP_KEY_SECRETS, WPP_PUBLIC_URL, PORT
    (the ingress'). Data, logs, tools and secrets live in `directory`. SIGTERM ends the block as Ctrl-C does.

    Raises on entering:
        SandboxError: a part could not be had or started, with the reason; whatever was started is stopped again.
        PortTakenError: somebody else listens on one of the ports.
    """

    def __init__(
        self,
        directory: Path,
        *,
        ports: Ports | None = None,
        environment: Mapping[str, str] | None = None,
        durable: bool = True,
        tools: Path | None = None,
        say: Progress = print,
    ) -> None:
        self.directory = directory.resolve()
        self._given = _given() if environment is None else environment
        self.ports = ports or Ports.from_first(int(self._given.get("WPP_FIRST_PORT") or FIRST_PORT))
        self._durable = durable
        self._tools = tools or self.directory / "tools"
        self._say = say
        self._undo = contextlib.ExitStack()
        self._parts: list[RedisServer | PlayedPlatform | Supabase] = []
        self.database_url: str | None = None  # of our own Postgres, if it is ours

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
    def plays_platform(self) -> bool:
        return not self._given.get("WPP_BASE_URL")

    def check(self) -> None:
        """Raises SandboxError if a part that was started here has stopped by itself, with the end of its log."""
        for part in self._parts:
            part.check()

    def _start(self, undo: contextlib.ExitStack) -> dict[str, str]:
        for address, others in NEEDED_WITH.items():
            missing = [
                name for name in others if self._given.get(address) and not self._given.get(name)
            ]
            if missing:
                msg = f"{address} is set, so {' and '.join(missing)} must be set too. See .env.example."
                raise SandboxError(msg)
        secrets = Secrets.kept_in(self.directory / "secrets.json")
        public_url = f"http://{LOCALHOST}:{self.ports.ingress}"
        defaults = {
            "WPP_KEY_SECRETS": secrets.keys,
            "WPP_PUBLIC_URL": public_url,
            "PORT": str(self.ports.ingress),
            "WPP_MEDIA_PRIVATE_HOSTS": f"{LOCALHOST}:{self.ports.platform}",  # files of the played platform
        }
        environment = {name: self._given.get(name) or value for name, value in defaults.items()}
        try:
            ports.claim("the ingress", int(environment["PORT"]))
            return environment | self._start_parts(secrets, undo)
        except PortTakenError as error:
            msg = f"{error} (WPP_FIRST_PORT={self.ports.ingress + 100} moves the whole local world)"
            raise PortTakenError(msg) from None

    def _start_parts(self, secrets: Secrets, undo: contextlib.ExitStack) -> dict[str, str]:
        """Launch what takes no other part first, then Supabase, which takes longest; wait for all."""
        redis = RedisServer(self.directory / "redis", self.ports.redis)
        platform = PlayedPlatform(
            self.directory / "platform", self.ports.platform, secrets.platform
        )
        environment = self._real("REDIS_URL") or {"REDIS_URL": redis.url}
        environment |= self._real("WPP_BASE_URL") or {
            "WPP_BASE_URL": platform.url,
            "WPP_SECRET": secrets.platform,
        }
        both: tuple[tuple[RedisServer | PlayedPlatform, str, str], ...] = (
            (redis, "REDIS_URL", "Redis"),
            (platform, "WPP_BASE_URL", "the platform's sandbox"),
        )
        own = [(part, name) for part, address, name in both if not self._given.get(address)]
        for part, name in own:
            self._say(f"starting {name}")
            self._parts.append(part)
            undo.callback(part.stop)
            part.launch()
        environment |= self._real("SUPABASE_URL") or self._start_supabase(secrets, undo)
        for part, _ in own:
            part.wait()
        return environment

    def _start_supabase(self, secrets: Secrets, undo: contextlib.ExitStack) -> dict[str, str]:
        self._say("starting Supabase: Postgres, PostgREST and the gateway")
        supabase = Supabase(
            self.directory,
            tools=self._tools,
            ports=project.Ports(self.ports.supabase, self.ports.postgres, self.ports.postgrest),
            secrets=secrets.supabase,
            migrations=MIGRATIONS,
            durable=self._durable,
            say=self._say,
        )
        self._parts.append(supabase)
        undo.callback(supabase.stop)
        supabase.start()
        seed(supabase.postgres.admin_url)
        self.database_url = supabase.database_url
        keys = {
            "SUPABASE_ANON_KEY": supabase.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": supabase.service_role_key,
        }
        return {"SUPABASE_URL": supabase.url, "WPP_DEMO_USER": f"{EMAIL}:{PASSWORD}", **keys}

    def _real(self, address: str) -> dict[str, str]:
        """Return the variables of a part that is set, or nothing."""
        if not self._given.get(address):
            return {}
        self._say(f"{address} is set: using that")
        return {name: self._given[name] for name in (address, *NEEDED_WITH.get(address, ()))}


def _given() -> dict[str, str]:
    """Return the environment, and what `.env` adds to it, as the settings read them."""
    return {name: value for name, value in dotenv_values(".env").items() if value} | dict(
        os.environ
    )

"""`make up`: the local world and the pipeline, until Ctrl-C."""

import os
import re
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import typer

from sandbox.local_world import LocalWorld
from sandbox.pipeline import ROOT, Pipeline
from sandbox.ports import LOCALHOST
from shared import logs
from shared.errors import ConfigurationError
from shared.redis.client import connect_durable
from shared.settings import RedisSettings, list_groups, load_settings

ADDRESSES = """
Ready after {seconds:.0f} s.

  the API       {api}  (documentation: {api}/docs, every route: {api}/docs/api)
  the page      {api}/connect  (connect a number)
  the console   {api}/console  (what happens, and repairs; sign in with the operator key{below})
  the platform  {platform}
  Supabase      {supabase}
  Postgres      {postgres}
  Redis         {redis}
  logs          {logs}

For another terminal (the command `wpp`, the demo organization's service key as $KEY):

  . {exports}
"""
COMMANDS = """
A command for each flow:

  1. connect a number:
     curl -s -X POST {api}/v1/integrations \\
          -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{{}}'
  2. see its status and its QR code, then scan it{scan}:
     curl -s {api}/v1/integrations -H "Authorization: Bearer $KEY"
  3. send a message:
     curl -s -X POST {api}/v1/messages \\
          -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
          -d '{{"to": "+79990001122", "text": "Hello"}}'
  4. follow it (with the id from the answer):
     curl -s {api}/v1/messages/ID -H "Authorization: Bearer $KEY"

Answer from the phone: the message appears in the table chat_messages.
"""
OWN_KEY = """
Your own Supabase has your own organizations: wpp keys create local --organization ID
prints a key for one of them, KEY=wpk_…, and wpp keys create me --operator one for the console.
"""
HOW_TO_STOP = "Ctrl-C stops everything."
STAND_INS = {
    "supabase_url": "http://127.0.0.1",
    "supabase_anon_key": "anon",
    "supabase_service_role_key": "service",
    "wpp_base_url": "http://127.0.0.1",
    "wpp_secret": "secret",
    "wpp_key_secrets": "k" * 32,
    "wpp_public_url": "http://127.0.0.1",
}
"""Required settings that the world itself gives later."""
COUNT = re.compile(r"\$\{(\w+_(?:PROCESSES|THREADS)):-")


def run(directory: Path) -> None:
    """Start world and pipeline, print the addresses, run until Ctrl-C or until a part ends.

    Data stays in `directory`.

    Raises:
        ConfigurationError: a setting is wrong, a port taken.
        SandboxError: a part could not be started, or has ended; the rest is stopped.
    """
    started = time.monotonic()
    world = LocalWorld(directory)
    check_settings(world.given)
    if world.given.get("REDIS_URL"):
        _require_durable_redis(world.given)
    with world as environment:
        typer.echo("starting the pipeline")
        log = directory / "pipeline.log"
        with Pipeline(environment | {"WPP_LOG_FORMAT": "text"}, log) as pipeline:
            exports = _write_exports(environment, world)
            typer.echo(_summarize(environment, world, exports, time.monotonic() - started))
            try:
                while True:
                    time.sleep(1)
                    world.check()
                    pipeline.check()
            except KeyboardInterrupt:
                typer.echo("\nstopping …")
            finally:
                exports.unlink(missing_ok=True)


def check_settings(given: Mapping[str, str]) -> None:
    """Raise ConfigurationError for a wrong setting, before a part of the world is started."""
    for group in list_groups():
        values = {name: value for name, value in STAND_INS.items() if not given.get(name.upper())}
        load_settings(group, **values)
    for name in COUNT.findall((ROOT / "Procfile").read_text()):
        count = given.get(name) or "1"
        if not count.isdecimal() or int(count) < 1:
            msg = f"cannot start: {name}: {count!r} is no number from 1 on"
            raise ConfigurationError(msg)


def _require_durable_redis(environment: Mapping[str, str]) -> None:
    """Fail with a sentence instead of the same error in the log of every process."""
    name = "WPP_ALLOW_VOLATILE_REDIS"
    allow = environment.get(name) or os.environ.get(name) or "false"
    settings = RedisSettings.model_validate(
        {"redis_url": environment["REDIS_URL"], name.lower(): allow}
    )
    connect_durable(settings).close()


def _write_exports(environment: Mapping[str, str], world: LocalWorld) -> Path:
    """Write the variables for another terminal to `env`, readable by this user only."""
    variables = dict(environment)
    if world.service_key:
        variables["KEY"] = world.service_key
    if world.operator_key:
        variables["OPERATOR_KEY"] = world.operator_key
    lines = [
        f"export {name}={shlex.quote(value)}" for name, value in variables.items() if name != "PORT"
    ]
    lines.append(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
    path = world.directory / "env"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text("\n".join([*lines, ""]))
    return path


def _summarize(
    environment: Mapping[str, str], world: LocalWorld, exports: Path, seconds: float
) -> str:
    """Return the addresses and a command for each flow; a real Redis URL without its password."""
    api = f"http://{LOCALHOST}:{environment['PORT']}"
    platform = environment["WPP_BASE_URL"].rstrip("/")
    phones = f"{platform}/phone"
    if world.has_platform_sandbox:
        platform += f"  (a sandbox; its phones: {phones} - scan here, read, answer)"
    addresses = ADDRESSES.format(
        seconds=seconds,
        api=api,
        below=" below" if world.operator_key else "",
        platform=platform,
        supabase=environment["SUPABASE_URL"],
        postgres=world.database_url or "(your own)",
        redis=logs.mask_text(environment["REDIS_URL"]),
        logs=f"{world.directory}/logs  (a file per process and day; of servers: above it)",
        exports=_shorten(exports),
    )
    key = f"\n  KEY={world.service_key}\n" if world.service_key else OWN_KEY
    if world.operator_key:
        key += f"  OPERATOR_KEY={world.operator_key}\n"
    scan = f" on {phones}" if world.has_platform_sandbox else ""
    return addresses + key + COMMANDS.format(api=api, scan=scan) + HOW_TO_STOP


def _shorten(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

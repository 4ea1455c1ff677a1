"""`make up`: the local world and the pipeline, until Ctrl-C."""

import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import typer

from sandbox.pipeline import Pipeline
from sandbox.services import World
from sandbox.supabase.seed import ORGANIZATION
from shared import logs, signed_keys
from shared.redis import connect_durable
from shared.settings import RedisSettings

PLACES = """
Ready after {seconds:.0f} s.

  the door      {door}  (what it understands: {door}/openapi.json)
  the page      {door}/connect  (connect a number)
  the platform  {platform}
  Supabase      {supabase}
  Postgres      {postgres}
  Redis         {redis}
  logs          {logs}

For another terminal (`wpp`, the operator's command, and the key of the demo organization as $KEY):

  . {exports}
"""
FLOWS = """
A command for each flow:

  1. connect a number:
     curl -s -X POST {door}/v1/integrations -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
          -d '{{}}'
  2. see its status and its QR code, then scan it{scan}:
     curl -s {door}/v1/integrations -H "Authorization: Bearer $KEY"
  3. send a message:
     curl -s -X POST {door}/v1/messages -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
          -d '{{"to": "+79990001122", "text": "Hello"}}'
  4. see where it is (with the id from the answer):
     curl -s {door}/v1/messages/ID -H "Authorization: Bearer $KEY"

Answer from the phone: the message appears in the table chat_messages.
"""
OWN_KEY = """
Your own Supabase has your own organizations: KEY=$(wpp key ORGANIZATION_ID)
"""
END = "Ctrl-C stops everything."


def run(directory: Path) -> None:
    """Start everything, say where it is, and keep it until Ctrl-C or until a part dies; data stays in `directory`.

    Raises:
        SandboxError: a part could not be started, or has stopped; everything else is stopped as well.
    """
    started = time.monotonic()
    world = World(directory)
    with world as environment:
        _make_sure_of_redis(environment)
        typer.echo("starting the pipeline")
        with Pipeline(
            environment | {"WPP_LOG_FORMAT": "text"}, directory / "pipeline.log"
        ) as pipeline:
            exports = _exports(environment, world)
            typer.echo(_summary(environment, world, exports, time.monotonic() - started))
            try:
                while True:
                    time.sleep(1)
                    world.check()
                    pipeline.check()
            except KeyboardInterrupt:
                typer.echo("\nstopping …")
            finally:
                exports.unlink(missing_ok=True)


def _make_sure_of_redis(environment: Mapping[str, str]) -> None:
    """Say in one sentence what every process would say in its log."""
    allow = (
        environment.get("WPP_ALLOW_VOLATILE_REDIS")
        or os.environ.get("WPP_ALLOW_VOLATILE_REDIS")
        or "false"
    )
    settings = RedisSettings.model_validate(
        {"redis_url": environment["REDIS_URL"], "wpp_allow_volatile_redis": allow}
    )
    connect_durable(settings).close()


def _exports(environment: Mapping[str, str], world: World) -> Path:
    """Write what another terminal needs, for nobody but this user, for as long as the world runs."""
    variables = dict(environment)
    if world.database_url:
        variables["KEY"] = _key(environment)
    lines = [
        f"export {name}={shlex.quote(value)}" for name, value in variables.items() if name != "PORT"
    ]
    path = world.directory / "env"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(
        "\n".join(
            [*lines, f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH", ""]
        )
    )
    return path


def _key(environment: Mapping[str, str]) -> str:
    return signed_keys.make_service_key(
        ORGANIZATION, tuple(each.encode() for each in environment["WPP_KEY_SECRETS"].split(","))
    )


def _summary(environment: Mapping[str, str], world: World, exports: Path, seconds: float) -> str:
    """Tell where everything is. What is real is told without its password; what is played, with how to play."""
    door, platform = (
        f"http://127.0.0.1:{environment['PORT']}",
        environment["WPP_BASE_URL"].rstrip("/"),
    )
    phone = f"{platform}/phone" if world.plays_platform else ""
    places = PLACES.format(
        seconds=seconds,
        door=door,
        platform=f"{platform}  (played; its phones: {phone} - scan here, read, answer)"
        if phone
        else platform,
        supabase=environment["SUPABASE_URL"],
        postgres=world.database_url or "(your own)",
        redis=logs.mask_text(environment["REDIS_URL"]),
        logs=f"{world.directory}/*.log",
        exports=_shortest(exports),
    )
    key = f"\n  KEY={_key(environment)}\n" if world.database_url else OWN_KEY
    return places + key + FLOWS.format(door=door, scan=f" on {phone}" if phone else "") + END


def _shortest(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

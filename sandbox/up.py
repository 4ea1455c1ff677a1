"""`make up`: the local world and the pipeline, until Ctrl-C."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import typer

from sandbox.pipeline import Pipeline
from sandbox.supabase.seed import ORGANIZATION
from sandbox.world import World
from shared import access, durable
from shared.settings import RedisSettings

SUMMARY = """
Ready after {seconds:.0f} s.

  the door      {door}  (what it understands: {door}/openapi.json)
  the page      {door}/connect  (sign in with one click, connect a number)
  the phone     {platform}/phone  (plays WhatsApp: scan here, read what arrives, answer)
  Supabase      {supabase}
  Postgres      {postgres}
  Redis         {redis}
  logs          {logs}

The demo organization's service key, and a command for each flow:

  KEY={key}

  1. connect a number:
     curl -s -X POST {door}/v1/integrations -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
          -d '{{}}'
  2. see its status and its QR code, then scan it on the phone's page:
     curl -s {door}/v1/integrations -H "Authorization: Bearer $KEY"
  3. send a message:
     curl -s -X POST {door}/v1/messages -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
          -d '{{"to": "+79990001122", "text": "Hello"}}'
  4. see where it is (with the id from the answer):
     curl -s {door}/v1/messages/ID -H "Authorization: Bearer $KEY"

Answer from the phone's page: the message appears in the table chat_messages. Ctrl-C stops everything.
"""


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
        with Pipeline(environment | {"WPP_LOG_FORMAT": "text"}, directory / "pipeline.log") as pipeline:
            typer.echo(_summary(environment, world, time.monotonic() - started))
            try:
                while True:
                    time.sleep(1)
                    world.check()
                    pipeline.check()
            except KeyboardInterrupt:
                typer.echo("\nstopping …")


def _make_sure_of_redis(environment: Mapping[str, str]) -> None:
    """Say in one sentence what every process would say in its log."""
    allow = environment.get("WPP_ALLOW_VOLATILE_REDIS") or os.environ.get("WPP_ALLOW_VOLATILE_REDIS") or "false"
    settings = RedisSettings.model_validate({"redis_url": environment["REDIS_URL"], "wpp_allow_volatile_redis": allow})
    durable.connect_durable(settings).close()


def _summary(environment: Mapping[str, str], world: World, seconds: float) -> str:
    secrets = tuple(secret.encode() for secret in environment["WPP_KEY_SECRETS"].split(","))
    return SUMMARY.format(
        seconds=seconds,
        door=f"http://127.0.0.1:{environment['PORT']}",
        platform=environment["WPP_BASE_URL"].rstrip("/"),
        supabase=environment["SUPABASE_URL"],
        postgres=world.database_url or "(your own)",
        redis=environment["REDIS_URL"],
        logs=f"{world.directory}/*.log",
        key=access.service_key(ORGANIZATION, secrets),
    )

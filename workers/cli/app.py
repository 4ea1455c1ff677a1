"""`wpp`: the operator's command.

Everything here uses the same settings as the processes (see .env.example).
"""

from contextlib import ExitStack, suppress
from enum import Enum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from shared import signed_keys
from shared.database import Database
from shared.errors import ConfigurationError
from shared.events import Message
from shared.lanes.client import Lanes
from shared.lanes.records import find_record
from shared.producer import Producer
from shared.redis import connect
from shared.settings import (
    EngineSettings,
    KeySettings,
    RedisSettings,
    SupabaseSettings,
    load_settings,
)
from workers.cli import recovery
from workers.cli.errors import print_errors
from workers.cli.reconnect import reconnect
from workers.cli.status import print_status
from workers.send import in_doubt

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)


class Outcome(Enum):
    SENT = "sent"
    FAILED = "failed"
    AGAIN = "again"


@app.command()
def up(
    directory: Annotated[Path, typer.Option(help="Where its data stays.")] = Path(".local"),
) -> None:
    """Run everything here: Redis, Supabase and the platform where none is named, and every process of the Procfile."""
    from sandbox.local_world import run  # noqa: PLC0415 - the local world is not part of an installed worker

    with print_errors():
        run(directory)


@app.command()
def key(organization_id: UUID) -> None:
    """Print the service key of an organization: it opens that organization's doors, and no other's."""
    with print_errors():
        typer.echo(
            signed_keys.make_service_key(organization_id, load_settings(KeySettings).secrets)
        )


@app.command()
def send(
    organization_id: UUID,
    to: Annotated[str, typer.Argument(help="A phone, in any usual spelling.")],
    text: str,
    integration_id: Annotated[UUID | None, typer.Option(help="The number to send from.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key is the same message.")
    ] = None,
    expires_in_s: Annotated[
        int | None, typer.Option("--expires-in", help="Seconds it may take to go out.")
    ] = None,
) -> None:
    """Queue a message, straight into Redis."""
    with print_errors():
        producer = Producer.connect(load_settings(RedisSettings).redis_url)
        message = Message(
            to=to, text=text, integration_id=integration_id, expires_in_s=expires_in_s
        )
        typer.echo(producer.send(organization_id, message, idempotency_key=idempotency_key).id)


@app.command()
def show(event_id: UUID) -> None:
    """Tell what became of an event: a message, a connect, a webhook."""
    with print_errors():
        found = find_record(connect(load_settings(RedisSettings).redis_url), event_id)
        if found is None:
            msg = f"no event {event_id} (finished ones are remembered for {load_settings(EngineSettings).wpp_record_ttl_s} s)"
            raise ValueError(msg)
        typer.echo(found.model_dump_json(indent=2, exclude_none=True, exclude={"body"}))


@app.command()
def settle(
    event_id: UUID, outcome: Annotated[Outcome, typer.Argument(help="What is known now.")]
) -> None:
    """Settle a message of which nobody knew whether it went out, or send it once more (`again`)."""
    with print_errors():
        client = connect(load_settings(RedisSettings).redis_url)
        if not in_doubt.resolve_unknown(
            client, Lanes(client, load_settings(EngineSettings)), event_id, outcome.value
        ):
            msg = f"{event_id} is no message whose effect is unknown (wpp show tells what it is)"
            raise ValueError(msg)
        typer.echo("done")


@app.command()
def lanes() -> None:
    """Show what waits, by kind and tenant; what holds it up; what has failed; and whether the clock runs."""
    with print_errors(), ExitStack() as stack:
        database = None
        with suppress(ConfigurationError):  # it tells less without Supabase
            database = stack.enter_context(Database(load_settings(SupabaseSettings)))
        for line in print_status(connect(load_settings(RedisSettings).redis_url), database):
            typer.echo(line)


@app.command("reconnect")
def reconnect_numbers(
    integration_ids: Annotated[list[UUID] | None, typer.Argument(help="Which numbers.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every number that is switched on.")] = False,  # noqa: FBT002
    rate: Annotated[float, typer.Option(help="How many a second.", min=0.1)] = 5,
) -> None:
    """Register numbers' webhooks at the address of today and start them; a linked phone stays linked."""
    with print_errors():
        if bool(integration_ids) == every:
            msg = "name the numbers, or say --all"
            raise ValueError(msg)
        with Database(load_settings(SupabaseSettings)) as database:
            numbers = list(database.integrations.iterate())
        chosen = [each for each in numbers if every or each.id in (integration_ids or ())]
        with Producer.connect(load_settings(RedisSettings).redis_url) as producer:
            typer.echo(f"{reconnect(chosen, producer, rate)} queued; wpp lanes shows how many wait")


for command in (recovery.unknown, recovery.policy, recovery.dead):
    app.command()(command)
app.command("log")(recovery.raw_log)


if __name__ == "__main__":
    app()

"""`wpp`: the operator's command line.

A command reads the same settings as the processes: environment variables, see .env.example.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer

from shared import routing, signed_keys
from shared.database import Database, Integration
from shared.errors import ConfigurationError
from shared.events import Message, ProvisionEvent
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
from workers.cli import keys, recovery
from workers.cli.errors import print_errors
from workers.cli.status import print_status
from workers.send import in_doubt

INSPECT = "Inspect"
RECOVER = "Recover"
SET_UP = "Set up and try"

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Operate the WhatsApp pipeline. Settings are environment variables, see .env.example.",
)


@app.command("lanes", rich_help_panel=INSPECT)
def show_lanes() -> None:
    """Show the state of the pipeline: backlog, closed gates, outbox, dead letters, clock.

    Start here when messages are late. Without the settings of Supabase, dead letters are left out.
    """
    with print_errors(), ExitStack() as stack:
        database = None
        with suppress(ConfigurationError):
            database = stack.enter_context(Database(load_settings(SupabaseSettings)))
        for line in print_status(connect(load_settings(RedisSettings).redis_url), database):
            typer.echo(line)


@app.command("show", rich_help_panel=INSPECT)
def show_event(
    event_id: Annotated[UUID, typer.Argument(help="Id of a message, a connect or a webhook.")],
) -> None:
    """Print the record of an event as JSON: state, attempts, reason of the last postponement."""
    with print_errors():
        record = find_record(connect(load_settings(RedisSettings).redis_url), event_id)
        if record is None:
            ttl_s = load_settings(EngineSettings).wpp_record_ttl_s
            msg = f"no event {event_id} (records are kept for {ttl_s} s after the event ended)"
            raise ValueError(msg)
        typer.echo(record.model_dump_json(indent=2, exclude_none=True, exclude={"body"}))


@app.command("settle", rich_help_panel=RECOVER)
def settle_message(
    event_id: Annotated[UUID, typer.Argument(help="Id of the message, see `wpp unknown`.")],
    outcome: Annotated[
        in_doubt.Resolution,
        typer.Argument(help="sent or failed: what happened. again: send it once more."),
    ],
) -> None:
    """Settle a message with an unknown delivery, after a look at the phone that sent it."""
    with print_errors():
        client = connect(load_settings(RedisSettings).redis_url)
        lanes = Lanes(client, load_settings(EngineSettings))
        if not in_doubt.resolve_unknown(client, lanes, event_id, outcome):
            msg = f"{event_id} is no message with an unknown delivery (see wpp show {event_id})"
            raise ValueError(msg)
        typer.echo("settled")


@app.command("reconnect", rich_help_panel=RECOVER)
def reconnect_integrations(
    integration_ids: Annotated[
        list[UUID] | None, typer.Argument(help="Ids of the integrations.")
    ] = None,
    every: Annotated[  # noqa: FBT002
        bool, typer.Option("--all", help="All enabled integrations.")
    ] = False,
    rate: Annotated[float, typer.Option(help="Integrations per second.", min=0.1)] = 5,
) -> None:
    """Register the webhook of integrations again and start their accounts.

    For a new WPP_PUBLIC_URL, new WPP_KEY_SECRETS, or integrations of another system. A linked phone
    stays linked. Disabled integrations are skipped.
    """
    with print_errors():
        if bool(integration_ids) == every:
            msg = "give the ids of integrations, or --all"
            raise ValueError(msg)
        with Database(load_settings(SupabaseSettings)) as database:
            integrations = list(database.integrations.iterate())
        chosen = [each for each in integrations if every or each.id in (integration_ids or ())]
        with Producer.connect(load_settings(RedisSettings).redis_url) as producer:
            count = enqueue_reconnects(chosen, producer, rate)
        typer.echo(f"{count} queued (see wpp lanes)")


def enqueue_reconnects(
    integrations: Iterable[Integration],
    producer: Producer,
    per_second: float = 5,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Enqueue a connect for each enabled integration with an account; return their number.

    Raises:
        OverloadedError: the backlog is full; the connects before that are enqueued.
        redis.RedisError: Redis did not confirm a connect.
    """
    count = 0
    for integration in integrations:
        if not integration.account or not integration.is_enabled:
            continue
        event = ProvisionEvent(
            id=uuid4(),
            organization_id=integration.organization_id,
            integration_id=integration.id,
        )
        producer.append(routing.route_provision(event))
        count += 1
        sleep(1 / per_second)
    return count


@app.command("key", rich_help_panel=SET_UP)
def print_key(
    organization_id: Annotated[UUID, typer.Argument(help="Id of the organization.")],
) -> None:
    """Print the service key of an organization: its bearer token for the HTTP API."""
    with print_errors():
        typer.echo(
            signed_keys.make_service_key(organization_id, load_settings(KeySettings).secrets)
        )


@app.command("send", rich_help_panel=SET_UP)
def send_message(
    organization_id: Annotated[UUID, typer.Argument(help="Id of the organization.")],
    to: Annotated[str, typer.Argument(help="Phone number of the recipient.")],
    text: Annotated[str, typer.Argument(help="Text of the message.")],
    integration_id: Annotated[
        UUID | None,
        typer.Option(help="Integration to send from; may be left out if there is only one."),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Two sends with the same key are one message.")
    ] = None,
    expires_in_s: Annotated[
        int | None,
        typer.Option("--expires-in", help="Seconds after which the message is no longer sent."),
    ] = None,
) -> None:
    """Enqueue a text message and print its id. Needs Redis only."""
    with print_errors():
        producer = Producer.connect(load_settings(RedisSettings).redis_url)
        message = Message(
            to=to, text=text, integration_id=integration_id, expires_in_s=expires_in_s
        )
        typer.echo(producer.send(organization_id, message, idempotency_key=idempotency_key).id)


def run_local_world(
    directory: Annotated[Path, typer.Option(help="Directory of its data.")] = Path(".local"),
) -> None:
    """Run the pipeline on this machine, for development.

    Starts every process of the Procfile, and a local Redis, Supabase and WhatsApp platform in place
    of those that the settings do not name.
    """
    from sandbox.run import run  # noqa: PLC0415 - only a source checkout has the sandbox

    with print_errors():
        run(directory)


app.add_typer(keys.app, name="keys", rich_help_panel=SET_UP)
app.command("unknown", rich_help_panel=INSPECT)(recovery.list_unknown)
app.command("dead", rich_help_panel=RECOVER)(recovery.list_dead_letters)
app.command("log", rich_help_panel=RECOVER)(recovery.list_webhooks)
app.command("policy", rich_help_panel=RECOVER)(recovery.set_policy)
if find_spec("sandbox"):
    app.command("up", rich_help_panel=SET_UP)(run_local_world)


if __name__ == "__main__":
    app(prog_name="wpp")

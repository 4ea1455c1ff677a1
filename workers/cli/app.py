"""`wpp`: the operator's command line.

A command reads the same settings as the processes: environment variables, see .env.example. What a
command works with is imported when it runs, so that `wpp --help` answers at once.
"""

from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

import typer

from workers.cli import (
    callbacks,
    doctor,
    keys,
    message,
    overview,
    pacing,
    pairing,
    reconcile,
    recovery,
    shards,
)
from workers.cli.errors import UnknownIdError, print_errors
from workers.cli.help import GroupedCommands
from workers.cli.output import AsJson, print_json, print_value, show_progress

INSPECT = "Inspect"
RECOVER = "Recover"
SET_UP = "Set up and try"

app = typer.Typer(
    cls=GroupedCommands,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich takes 0.2 s to load, only to draw frames
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Operate the WhatsApp pipeline. Settings are environment variables, see .env.example. "
    "Exit codes: 0 done, 1 not possible now or a fault found, 2 a mistake in command or settings.",
)


@app.command("lanes", rich_help_panel=INSPECT)
def show_lanes(as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show what waits, by organization and reason: backlog, closed gates, outbox, clock.

    Start here when messages are late. Without the settings of Supabase, dead letters are left out.
    """
    from shared.database import Database
    from shared.errors import ConfigurationError
    from shared.settings import RedisSettings, SupabaseSettings, load_settings
    from workers.cli.status import print_status, read_lanes
    from workers.repair.shard_clients import ShardClients

    with print_errors(), ExitStack() as stack:
        by_name = ShardClients.connect(load_settings(RedisSettings)).by_name
        if as_json:
            found = {name: read_lanes(client) for name, client in by_name.items()}
            print_json(found.get("", {"shards": found}))
            return
        database = None
        with suppress(ConfigurationError):
            database = stack.enter_context(Database(load_settings(SupabaseSettings)))
        for name, client in by_name.items():
            if name:
                typer.echo(f"shard {name}")
            for line in print_status(client, database):
                typer.echo(line)
            database = None  # its dead letters are those of all shards


@app.command("show", rich_help_panel=INSPECT)
def show_event(
    event_id: Annotated[UUID, typer.Argument(help="Id of a message, a connect or a webhook.")],
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - it prints JSON anyway
) -> None:
    """Print the record of an event as JSON: state, attempts, reason of the last postponement."""
    from shared.lanes.records import find_record
    from shared.settings import EngineSettings, RedisSettings, load_settings
    from workers.repair.shard_clients import ShardClients

    with print_errors():
        clients = ShardClients.connect(load_settings(RedisSettings))
        record = find_record(clients.of_event(event_id), event_id)
        if record is None:
            ttl_s = load_settings(EngineSettings).wpp_record_ttl_s
            msg = f"no event {event_id} (records are kept for {ttl_s} s after the event ended)"
            raise UnknownIdError(msg)
        typer.echo(record.model_dump_json(indent=2, exclude_none=True, exclude={"body"}))


@app.command("settle", rich_help_panel=RECOVER)
def settle_message(
    event_id: Annotated[UUID, typer.Argument(help="Id of the message, see `wpp unknown`.")],
    outcome: Annotated[
        Literal["sent", "failed", "again"],
        typer.Argument(help="sent or failed: what happened. again: send it once more."),
    ],
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Settle a message with an unknown delivery, after a look at the phone that sent it."""
    from shared.lanes.client import Lanes
    from shared.settings import EngineSettings, RedisSettings, load_settings
    from workers.repair.letters import name_operator
    from workers.repair.shard_clients import ShardClients
    from workers.send import in_doubt

    with print_errors():
        client = ShardClients.connect(load_settings(RedisSettings)).of_event(event_id)
        lanes = Lanes(client, load_settings(EngineSettings))
        by = name_operator()
        if not in_doubt.resolve_unknown(client, lanes, event_id, outcome, operator=by):
            msg = f"{event_id} is no message with an unknown delivery (see wpp show {event_id})"
            raise UnknownIdError(msg)
        print_value("settled", {"id": event_id, "outcome": outcome}, as_json=as_json)


@app.command("reconnect", rich_help_panel=RECOVER)
def reconnect_integrations(
    integration_ids: Annotated[
        list[UUID] | None, typer.Argument(help="Ids of the integrations.")
    ] = None,
    every: Annotated[  # noqa: FBT002
        bool, typer.Option("--all", help="All enabled integrations.")
    ] = False,
    rate: Annotated[float, typer.Option(help="Integrations per second.", min=0.1)] = 5,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Register the webhook of integrations again and start their accounts.

    For a new WPP_PUBLIC_URL, new WPP_KEY_SECRETS, or integrations of another system. A linked phone
    stays linked. Disabled integrations are skipped.
    """
    from shared.database import Database
    from shared.producer import Producer
    from shared.settings import RedisSettings, SupabaseSettings, load_settings
    from workers.cli.reconnect import enqueue_reconnects
    from workers.repair.shard_clients import ShardClients

    with print_errors():
        if bool(integration_ids) == every:
            msg = "give the ids of integrations, or --all"
            raise ValueError(msg)
        with Database(load_settings(SupabaseSettings)) as database:
            integrations = list(database.integrations.iterate())
        chosen = [each for each in integrations if every or each.id in (integration_ids or ())]
        if unknown := set(integration_ids or ()) - {each.id for each in chosen}:
            msg = f"no integration {', '.join(sorted(map(str, unknown)))}"
            raise UnknownIdError(msg)
        clients = ShardClients.connect(load_settings(RedisSettings))

        def find_producer(organization_id: UUID) -> Producer:
            return Producer(clients.of_organization(organization_id))

        moving = show_progress(chosen, len(chosen), "queued")
        count = enqueue_reconnects(moving, find_producer, rate)
        print_value(f"{count} queued (see wpp lanes)", {"queued": count}, as_json=as_json)


@app.command("send", rich_help_panel=SET_UP)
def send_message(  # noqa: PLR0913, PLR0917 - one option per field
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
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Enqueue a text message and print its id. Needs Redis only."""
    from shared.events import Message
    from shared.producer import Producer
    from shared.settings import RedisSettings, load_settings
    from workers.repair.shard_clients import ShardClients

    with print_errors():
        clients = ShardClients.connect(load_settings(RedisSettings))
        producer = Producer(clients.of_organization(organization_id))
        message = Message(
            to=to, text=text, integration_id=integration_id, expires_in_s=expires_in_s
        )
        accepted = producer.send(organization_id, message, idempotency_key=idempotency_key)
        found = {"id": accepted.id, "state": accepted.state, "new": accepted.new}
        print_value(str(accepted.id), found, as_json=as_json)


def run_local_world(
    directory: Annotated[Path, typer.Option(help="Directory of its data.")] = Path(".local"),
) -> None:
    """Run the pipeline on this machine, for development.

    Starts every process of the Procfile, and a local Redis, Supabase and WhatsApp platform in place
    of those that the settings do not name.
    """
    from sandbox.run import run  # only a source checkout has the sandbox

    with print_errors():
        run(directory)


def migrate_database(
    database_url: Annotated[
        str, typer.Argument(help="postgresql://… of the role postgres, see Supabase's dashboard.")
    ],
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Apply the migrations that a database lacks, as `supabase db push` does. Safe to repeat."""
    from functools import partial

    from sandbox.supabase.migrate import apply_to  # only a source checkout has the migrations

    with print_errors():
        applied = apply_to(database_url, partial(show_progress, verb="applied"))
        text = "\n".join(applied) or "no migration was missing"
        print_value(text, {"applied": applied}, as_json=as_json)


app.add_typer(keys.app, name="keys", rich_help_panel=SET_UP)
app.add_typer(shards.app, name="shards", rich_help_panel=INSPECT)
app.add_typer(callbacks.app, name="callbacks", rich_help_panel=INSPECT)
app.command("status", rich_help_panel=INSPECT)(overview.show_status)
app.command("doctor", rich_help_panel=INSPECT)(doctor.examine)
app.command("numbers", rich_help_panel=INSPECT)(overview.list_numbers)
app.command("message", rich_help_panel=INSPECT)(message.show_message)
app.command("tail", rich_help_panel=INSPECT)(overview.tail_events)
app.command("unknown", rich_help_panel=INSPECT)(recovery.list_unknown)
app.command("dead", rich_help_panel=RECOVER)(recovery.list_dead_letters)
app.command("log", rich_help_panel=RECOVER)(recovery.list_webhooks)
app.command("cancel", rich_help_panel=RECOVER)(message.cancel_message)
app.command("reconcile", rich_help_panel=RECOVER)(reconcile.reconcile)
app.command("policy", rich_help_panel=RECOVER)(recovery.set_policy)
app.command("pacing", rich_help_panel=SET_UP)(pacing.show_or_change)
app.command("connect", rich_help_panel=SET_UP)(pairing.connect_number)
app.command("version", rich_help_panel=SET_UP)(overview.show_version)
if find_spec("sandbox"):
    app.command("migrate", rich_help_panel=SET_UP)(migrate_database)
    app.command("up", rich_help_panel=SET_UP)(run_local_world)


if __name__ == "__main__":
    app(prog_name="wpp")

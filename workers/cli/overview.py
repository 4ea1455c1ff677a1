"""Commands that show the whole: `status`, `numbers`, `tail`, `version`."""

import platform
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from shared.version import VERSION
from workers.cli.errors import FAILED, print_errors
from workers.cli.ids import require_account, require_number, require_organizations
from workers.cli.output import (
    AsJson,
    Organization,
    format_duration,
    print_json,
    print_rows,
    print_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shared.database import Database


def show_status(as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show at a glance whether the pipeline works, and exit with 1 if it does not.

    Numbers, messages that wait, fail or are unknown, closed gates, results on their way, processes.
    """
    from shared.errors import ConfigurationError, DatabaseError
    from shared.settings import RedisSettings, load_settings
    from workers.repair.shard_clients import ShardClients
    from workers.status import read_shards, read_supabase

    with print_errors(), ExitStack() as stack:
        state = read_shards(ShardClients.connect(load_settings(RedisSettings)).by_name)
        try:
            state |= read_supabase(stack.enter_context(_open_database()))
        except (ConfigurationError, DatabaseError) as error:
            state["faults"].append(f"Supabase: {error}")
        state["ok"] = not state["faults"]
        if as_json:
            print_json(state)
        else:
            for line in _describe_state(state):
                typer.echo(line)
        if state["faults"]:
            raise typer.Exit(FAILED)


def _describe_state(state: "Mapping[str, Any]") -> "Iterator[str]":
    from workers.cli.status import describe_left, describe_paced

    yield "ok" if state["ok"] else f"{len(state['faults'])} faults"
    for fault in state["faults"]:
        yield f"  {fault}"
    numbers = ", ".join(f"{count} {status}" for status, count in state.get("numbers", {}).items())
    waiting = ", ".join(f"{count} {kind}" for kind, count in state["waiting"].items() if count)
    oldest_s = state["outbox"]["oldest_s"]
    age = f", the oldest for {format_duration(oldest_s)}" if oldest_s else ""
    yield f"numbers       {numbers or 'none'}"
    for each in state.get("numbers_down", [])[:10]:
        yield f"  {each['status']}  {each['name']}  {each['id']}  {each['error'] or each['reason']}"
    scheduled = f", {state['scheduled']} of them for a later date" if state["scheduled"] else ""
    yield f"waiting       {waiting or 'nothing'}{scheduled}"
    yield f"closed gates  {len(state['gates']) or 'none'}"
    for gate in state["gates"][:10]:
        yield f"  {gate['gate']}  {gate['lanes']} lanes  {gate['reason']}"
    for kind, count in state["awaiting_newer"].items():
        yield f"newer         {count} {describe_left(kind)}"
    yield f"paced         {describe_paced(state['paced']) or 'no messages'}"
    yield f"unknown       {state['unknown'] or 'no'} messages (wpp unknown)"
    yield f"dead letters  {state.get('dead_letters', '?') or 'none'} (wpp dead)"
    yield f"outbox        {state['outbox']['outcomes'] or 'no'} outcomes{age}"


def list_numbers(
    organization_id: Organization = None,
    down: Annotated[bool, typer.Option("--down", help="Only those that do not work.")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """List the numbers with their state, since when, and why."""
    from workers.status import DOWN, describe_number

    with print_errors(), _open_database() as database:
        require_organizations(database, [organization_id])
        integrations = database.integrations
        found = (
            integrations.list_for(organization_id) if organization_id else integrations.iterate()
        )
        rows = [describe_number(each) for each in found if not down or each.status in DOWN]
        columns = (
            "status",
            "since",
            "organization_id",
            "id",
            "account",
            "phone",
            "name",
            "reason",
            "error",
        )
        empty = "no number is down" if down else "no numbers"
        print_rows(rows, columns, as_json=as_json, empty=empty)


def tail_events(
    organization_id: Organization = None,
    number: Annotated[
        str | None, typer.Option("--number", help="Id or account of a number.")
    ] = None,
    message_id: Annotated[
        UUID | None, typer.Option("--message", help="Id of a message or another event.")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Show what happens, as it happens, until Ctrl-C: docs/log-events.md explains the events.

    With the settings of Supabase, an organization or a number that does not exist is refused.
    """
    from shared import tail
    from shared.settings import RedisSettings, load_settings
    from workers.repair.shard_clients import ShardClients

    wanted: dict[tuple[str, ...], str | None] = {
        ("organization_id", "organization"): str(organization_id) if organization_id else None,
        ("integration_id", "account"): number,
        ("event_id", "task_id"): str(message_id) if message_id else None,
    }
    with print_errors():
        if organization_id or number:
            _require_known(organization_id, number)
        shards = ShardClients.connect(load_settings(RedisSettings))
        for line in tail.watch_all(list(shards.by_name.values())):
            if line and matches(line, wanted):
                print_value(_describe_event(dict(line)), line, as_json=as_json)


def _require_known(organization_id: UUID | None, number: str | None) -> None:
    """Raise UnknownIdError where Supabase knows neither; without its settings, ask nothing."""
    from shared.errors import ConfigurationError

    with suppress(ConfigurationError), _open_database() as database:
        require_organizations(database, [organization_id])
        _require_named(database, number)


def _require_named(database: "Database", number: str | None) -> None:
    """Raise UnknownIdError for a number that no integration has as its id or account."""
    try:
        integration_id = UUID(number or "")
    except ValueError:
        require_account(database, number)
    else:
        require_number(database, integration_id)


def matches(line: "Mapping[str, Any]", wanted: "Mapping[tuple[str, ...], str | None]") -> bool:
    """Return whether a transition has each wanted value in any of its fields."""
    return all(
        value is None or value in {line.get(name) for name in names}
        for names, value in wanted.items()
    )


def _describe_event(line: dict[str, Any]) -> str:
    at, event = line.pop("at"), line.pop("event")
    rest = "  ".join(f"{name}={value}" for name, value in line.items() if name != "process")
    return f"{at[11:23]}  {event:22}  {rest}"


def show_version(as_json: AsJson = False) -> None:  # noqa: FBT002
    """Print the version of the pipeline and of Python."""
    found = {"version": VERSION, "python": platform.python_version()}
    print_value("wpp {version}, Python {python}".format(**found), found, as_json=as_json)


def _open_database() -> "Database":
    from shared.database import Database
    from shared.settings import SupabaseSettings, load_settings

    return Database(load_settings(SupabaseSettings))

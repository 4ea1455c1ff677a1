"""Commands that show the whole: `status`, `numbers`, `tail`, `version`."""

import platform
from contextlib import ExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from workers.cli.errors import FAILED, print_errors
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

    import redis

    from shared.database import Database, Integration

DOWN = ("disconnected", "error")


def show_status(as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show at a glance whether the pipeline works, and exit with 1 if it does not.

    Numbers, messages that wait, fail or are unknown, closed gates, results on their way, processes.
    """
    from shared.errors import ConfigurationError, DatabaseError
    from shared.redis import connect
    from shared.settings import RedisSettings, load_settings

    with print_errors(), ExitStack() as stack:
        client = connect(load_settings(RedisSettings).redis_url)
        state = read_state(client)
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


def read_state(client: "redis.Redis") -> dict[str, Any]:
    """Return what Redis tells about the pipeline; raises redis.RedisError."""
    from shared import processes
    from shared.events import QUEUE_NAMES
    from shared.lanes.records import find_unknown, total_waiting
    from shared.outbox import Outbox
    from workers.cli.status import find_gates

    waiting = total_waiting(client, QUEUE_NAMES)
    outbox = Outbox(client)
    faults = processes.find_faults(client)
    if outbox.blocked_reason:
        faults.append(f"Supabase takes no outcomes: {outbox.blocked_reason}")
    return {
        "faults": faults,
        "waiting": {kind: sum(tenants.values()) for kind, tenants in waiting.items()},
        "gates": find_gates(client),
        "unknown": len(find_unknown(client)),
        "outbox": {"outcomes": len(outbox), "oldest_s": outbox.age_s()},
    }


def read_supabase(database: "Database") -> dict[str, Any]:
    """Return the numbers by state, those that are down, and the count of dead letters."""
    from collections import Counter

    from shared.database import DeadLetterQuery

    numbers = [each for each in database.integrations.iterate() if each.account]
    return {
        "numbers": dict(Counter(each.status for each in numbers)),
        "numbers_down": [_describe_number(each) for each in numbers if each.status in DOWN],
        "dead_letters": database.dead_letters.count(DeadLetterQuery()),
    }


def _describe_state(state: "Mapping[str, Any]") -> "Iterator[str]":
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
    yield f"waiting       {waiting or 'nothing'}"
    yield f"closed gates  {len(state['gates']) or 'none'}"
    for gate in state["gates"][:10]:
        yield f"  {gate['gate']}  {gate['lanes']} lanes  {gate['reason']}"
    yield f"unknown       {state['unknown'] or 'no'} messages (wpp unknown)"
    yield f"dead letters  {state.get('dead_letters', '?') or 'none'} (wpp dead)"
    yield f"outbox        {state['outbox']['outcomes'] or 'no'} outcomes{age}"


def list_numbers(
    organization_id: Organization = None,
    down: Annotated[bool, typer.Option("--down", help="Only those that do not work.")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """List the numbers with their state, since when, and why."""
    with print_errors(), _open_database() as database:
        integrations = database.integrations
        found = (
            integrations.list_for(organization_id) if organization_id else integrations.iterate()
        )
        rows = [_describe_number(each) for each in found if not down or each.status in DOWN]
        columns = ("status", "since", "organization_id", "id", "account", "name", "reason", "error")
        empty = "no number is down" if down else "no numbers"
        print_rows(rows, columns, as_json=as_json, empty=empty)


def _describe_number(number: "Integration") -> dict[str, Any]:
    return {
        "id": number.id,
        "organization_id": number.organization_id,
        "account": number.account,
        "name": number.name,
        "status": number.status,
        "since": number.status_at,
        "reason": number.status_reason,
        "error": number.last_error,
        "enabled": number.is_enabled,
        "primary": number.is_primary,
    }


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
    """Show what happens, as it happens, until Ctrl-C: docs/log-events.md explains the events."""
    from shared import tail
    from shared.redis import connect
    from shared.settings import RedisSettings, load_settings

    wanted: dict[tuple[str, ...], str | None] = {
        ("organization_id", "organization"): str(organization_id) if organization_id else None,
        ("integration_id", "account"): number,
        ("event_id", "task_id"): str(message_id) if message_id else None,
    }
    with print_errors():
        for line in tail.watch(connect(load_settings(RedisSettings).redis_url)):
            if line and matches(line, wanted):
                print_value(_describe_event(dict(line)), line, as_json=as_json)


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
    found = {"version": version("wpp-pipeline"), "python": platform.python_version()}
    print_value("wpp {version}, Python {python}".format(**found), found, as_json=as_json)


def _open_database() -> "Database":
    from shared.database import Database
    from shared.settings import SupabaseSettings, load_settings

    return Database(load_settings(SupabaseSettings))

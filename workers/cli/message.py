"""`wpp message` and `wpp cancel`: the life of a message, and its end before it is sent."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from workers.cli.errors import print_errors
from workers.cli.output import AsJson, format_table, print_json, print_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

AnyMessageId = Annotated[UUID, typer.Argument(help="Id of a message.")]


def show_message(message_id: AnyMessageId, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show what happened to a message: accepted, each attempt with its reason, sent, acks."""
    from shared.database import Database
    from shared.settings import RedisSettings, SupabaseSettings, load_settings
    from workers.repair.messages import read_message
    from workers.repair.shard_clients import ShardClients

    with print_errors(), ExitStack() as stack:
        client = ShardClients.connect(load_settings(RedisSettings)).of_event(message_id)
        database = stack.enter_context(Database(load_settings(SupabaseSettings)))
        found = read_message(message_id, client, database)
        if as_json:
            print_json(found)
        else:
            for line in _describe(found):
                typer.echo(line)


def cancel_message(message_id: AnyMessageId, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Take back a message that waits, for its turn or for its date: it is never sent.

    A message that is being sent, or has ended, is left as it is: exit code 1. Needs Redis only.
    """
    from shared.lanes.client import Lanes
    from shared.settings import EngineSettings, RedisSettings, load_settings
    from workers.repair import messages
    from workers.repair.shard_clients import ShardClients

    with print_errors():
        client = ShardClients.connect(load_settings(RedisSettings)).of_event(message_id)
        messages.cancel_message(message_id, client, Lanes(client, load_settings(EngineSettings)))
        print_value("cancelled", {"id": message_id, "status": "cancelled"}, as_json=as_json)


def _describe(found: "Mapping[str, Any]") -> "Iterator[str]":
    reason = f": {found['reason']}" if found["reason"] else ""
    yield f"{found['id']}  {found['status']}{reason}"
    rows = [
        {
            "at": event["at"].replace("T", " ").replace("Z", "")[:23],
            "event": event["event"],
            "by": event["by"] or event["source"],
            "attempt": event["attempt"],
            "why": event["error"] or event["emoji"],
        }
        for event in found["timeline"]
    ]
    yield from format_table(rows, ("at", "event", "by", "attempt", "why"))

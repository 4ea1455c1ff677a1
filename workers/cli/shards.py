"""`wpp shards`: which organization is on which Redis."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from workers.cli.errors import print_errors
from workers.cli.output import AsJson, print_rows, print_value

if TYPE_CHECKING:
    from workers.repair.shard_clients import ShardClients

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Which organization is on which Redis."
)


@app.command("list")
def list_shards(as_json: AsJson = False) -> None:  # noqa: FBT002
    """List the shards: their organizations, and what waits on each."""
    from collections import Counter

    from workers.status import read_state

    with print_errors():
        shards = open_shards()
        places = Counter(shards.table.read().values()) if shards.table else Counter()
        rows = []
        for name, client in shards.by_name.items():
            state = read_state(client)
            rows.append(
                {
                    "shard": name,
                    "organizations": places[name],
                    "waiting": sum(state["waiting"].values()),
                    "outcomes": state["outbox"]["outcomes"],
                    "faults": "; ".join(state["faults"]),
                }
            )
        columns = ("shard", "organizations", "waiting", "outcomes", "faults")
        print_rows(rows, columns, as_json=as_json, empty="")


@app.command("find")
def find_shard(
    organization_id: Annotated[UUID, typer.Argument(help="Id of the organization.")],
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Print the shard of an organization; a new one gets its shard now."""
    with print_errors():
        shards = open_shards()
        place = shards.table.find(organization_id) if shards.table else ""
        found = {"organization_id": organization_id, "shard": place}
        print_value(place, found, as_json=as_json)


@app.command("move")
def move_organization(
    organization_id: Annotated[UUID, typer.Argument(help="Id of the organization.")],
    shard: Annotated[str, typer.Argument(help="Name of the shard that it moves to.")],
    hold_s: Annotated[
        float, typer.Option("--hold", min=3, help="Seconds for which its requests may be held.")
    ] = 8,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Move an organization to another shard, with all that waits for it; see docs/shards.md.

    Safe to repeat: after a kill, the same move completes it. Back to its shard: that undoes it.
    """
    from shared.database import Database
    from shared.settings import EngineSettings, SupabaseSettings, load_settings
    from workers.repair.shard_move import Mover

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        engine = load_settings(EngineSettings)
        mover = Mover(open_shards(), database, engine, organization_id, hold_s)
        if not as_json:
            mover.on_step = typer.echo
        waiting = mover.move(shard)
        text = f"it is on {shard}, where {waiting} events wait"
        print_value(text, {"shard": shard, "waiting": waiting}, as_json=as_json)


def open_shards() -> "ShardClients":
    """Return the clients of several shards.

    Raises:
        ConfigurationError: there is a single Redis.
    """
    from shared.errors import ConfigurationError
    from shared.settings import RedisSettings, load_settings
    from workers.repair.shard_clients import ShardClients

    shards = ShardClients.connect(load_settings(RedisSettings))
    if shards.table is None:
        msg = "there is a single Redis: WPP_SHARDS is empty"
        raise ConfigurationError(msg)
    return shards

"""`wpp keys`: make, list and revoke the keys of services, and of operators of the console."""

from typing import Annotated, Any
from uuid import UUID

import typer

from workers.cli.errors import print_errors
from workers.cli.ids import require_organizations
from workers.cli.output import AsJson, print_rows, print_value

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make, list and revoke the keys of services and operators.",
)

Organizations = Annotated[
    list[UUID] | None,
    typer.Option("--organization", help="Id of an organization; may be given several times."),
]
Actions = Annotated[
    list[str] | None,
    typer.Option(
        "--action", help="Such as messages:write; may be given several times. Default: all."
    ),
]


@app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Which service or operator has the key.")],
    organization_ids: Organizations = None,
    actions: Actions = None,
    operator: Annotated[  # noqa: FBT002
        bool, typer.Option("--operator", help="The key opens the console, and nothing else.")
    ] = False,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Make a key and print it: it is shown once, and only its hash is stored."""
    from shared.database import Database
    from shared.settings import SupabaseSettings, load_settings
    from workers.repair import keys

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        if operator == bool(organization_ids or actions):
            msg = "give --organization with --action, or --operator alone"
            raise ValueError(msg)
        require_organizations(database, organization_ids or ())
        key_id, key = (
            keys.create_operator_key(name, database)
            if operator
            else keys.create_key(name, organization_ids or (), actions or (), database)
        )
        print_value(f"id   {key_id}\nkey  {key}", {"id": key_id, "key": key}, as_json=as_json)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:  # noqa: FBT002
    """List the keys, the newest first: id, last use, name, organizations, actions."""
    from shared.database import Database
    from shared.settings import SupabaseSettings, load_settings
    from workers.repair import keys

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        rows = [_describe(key) for key in keys.list_keys(database)]
        columns = ("id", "state", "name", "organizations", "actions")
        print_rows(rows, columns, as_json=as_json, empty="no keys")


@app.command("revoke")
def revoke_key(
    key_id: Annotated[UUID, typer.Argument(help="Id of the key.")],
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Revoke a key: it is refused by every web process within half a minute."""
    from shared.database import Database
    from shared.redis import connect
    from shared.settings import RedisSettings, SupabaseSettings, load_settings
    from workers.repair import keys

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        key = keys.revoke_key(key_id, connect(load_settings(RedisSettings).home_url), database)
        print_value(f"revoked {key.name}", {"id": key.id, "name": key.name}, as_json=as_json)


def _describe(key: Any) -> dict[str, Any]:
    from workers.repair.keys import describe_state

    return {
        "id": key.id,
        "state": describe_state(key),
        "name": key.name,
        "organizations": " ".join(map(str, getattr(key, "organization_ids", ["all"]))),
        "actions": " ".join(getattr(key, "actions", ["console"])),
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }

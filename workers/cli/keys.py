"""`wpp keys`: make, list and revoke the keys with which services call the API."""

from typing import Annotated
from uuid import UUID

import typer

from shared.database import Database
from shared.database.models import StoredServiceKey
from shared.redis import connect
from shared.service_keys import ACTIONS, EVERYTHING, forget_key, hash_service_key, make_key
from shared.settings import RedisSettings, SupabaseSettings, load_settings
from workers.cli.errors import print_errors

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke service keys.")

Organizations = Annotated[
    list[UUID],
    typer.Option("--organization", help="Id of an organization; may be given several times."),
]
Actions = Annotated[
    list[str] | None,
    typer.Option(
        "--action", help=f"{', '.join(ACTIONS)}; may be given several times. Default: all."
    ),
]


@app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Which service has the key.")],
    organization_ids: Organizations,
    actions: Actions = None,
) -> None:
    """Make a key and print it: it is shown once, and only its hash is stored."""
    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        wanted = list(dict.fromkeys(actions or [EVERYTHING]))
        if unknown := [each for each in wanted if each not in (*ACTIONS, EVERYTHING)]:
            msg = f"unknown action {unknown[0]}: there are {', '.join(ACTIONS)}"
            raise ValueError(msg)
        key = make_key()
        key_id = database.service_keys.create(
            name, hash_service_key(key), list(dict.fromkeys(organization_ids)), wanted
        )
        typer.echo(f"id   {key_id}")
        typer.echo(f"key  {key}")


@app.command("list")
def list_keys() -> None:
    """List the keys, the newest first: id, last use, name, organizations, actions."""
    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        for key in database.service_keys.list_all():
            typer.echo(_describe(key))


@app.command("revoke")
def revoke_key(key_id: Annotated[UUID, typer.Argument(help="Id of the key.")]) -> None:
    """Revoke a key: it is refused by every web process within half a minute."""
    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        key = database.service_keys.revoke(key_id)
        if key is None:
            msg = f"no key {key_id} that is in use (see wpp keys list)"
            raise ValueError(msg)
        forget_key(connect(load_settings(RedisSettings).redis_url), key.hash)
        typer.echo(f"revoked {key.name}")


def _describe(key: StoredServiceKey) -> str:
    used = f"used {key.last_used_at:%F %H:%M}" if key.last_used_at else "never used"
    state = f"revoked {key.revoked_at:%F %H:%M}" if key.revoked_at else used
    organizations = " ".join(map(str, key.organization_ids))
    return f"{key.id}  {state:24}  {key.name}  {organizations}  {' '.join(key.actions)}"

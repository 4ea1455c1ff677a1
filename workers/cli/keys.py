"""`wpp keys`: make, list and revoke the keys with which services call the API."""

from typing import Annotated, Any
from uuid import UUID

import typer

from workers.cli.errors import UnknownIdError, print_errors
from workers.cli.output import AsJson, print_rows, print_value

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke service keys.")

Organizations = Annotated[
    list[UUID],
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
    name: Annotated[str, typer.Argument(help="Which service has the key.")],
    organization_ids: Organizations,
    actions: Actions = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Make a key and print it: it is shown once, and only its hash is stored."""
    from shared.database import Database
    from shared.service_keys import ACTIONS, EVERYTHING, hash_service_key, make_key
    from shared.settings import SupabaseSettings, load_settings

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        wanted = list(dict.fromkeys(actions or [EVERYTHING]))
        if unknown := [each for each in wanted if each not in (*ACTIONS, EVERYTHING)]:
            msg = f"unknown action {unknown[0]}: there are {', '.join(ACTIONS)}"
            raise ValueError(msg)
        key = make_key()
        key_id = database.service_keys.create(
            name, hash_service_key(key), list(dict.fromkeys(organization_ids)), wanted
        )
        print_value(f"id   {key_id}\nkey  {key}", {"id": key_id, "key": key}, as_json=as_json)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:  # noqa: FBT002
    """List the keys, the newest first: id, last use, name, organizations, actions."""
    from shared.database import Database
    from shared.settings import SupabaseSettings, load_settings

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        rows = [_describe(key) for key in database.service_keys.list_all()]
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
    from shared.service_keys import forget_key
    from shared.settings import RedisSettings, SupabaseSettings, load_settings

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        key = database.service_keys.revoke(key_id)
        if key is None:
            msg = f"no key {key_id} that is in use (see wpp keys list)"
            raise UnknownIdError(msg)
        forget_key(connect(load_settings(RedisSettings).redis_url), key.hash)
        print_value(f"revoked {key.name}", {"id": key.id, "name": key.name}, as_json=as_json)


def _describe(key: Any) -> dict[str, Any]:
    used = f"used {key.last_used_at:%F %H:%M}" if key.last_used_at else "never used"
    return {
        "id": key.id,
        "state": f"revoked {key.revoked_at:%F %H:%M}" if key.revoked_at else used,
        "name": key.name,
        "organizations": " ".join(map(str, key.organization_ids)),
        "actions": " ".join(key.actions),
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }

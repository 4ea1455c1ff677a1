"""`wpp callbacks`: to whom events are posted, what came of it, and posting them again."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from workers.cli.errors import print_errors
from workers.cli.ids import require_organizations
from workers.cli.output import AsJson, print_rows, print_value

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List callbacks and their deliveries; replay events.",
)

AnyCallbackId = Annotated[UUID, typer.Argument(help="Id of the callback.")]


@app.command("list")
def list_callbacks(
    organization_id: Annotated[
        UUID | None, typer.Option("--organization", help="Only those of an organization.")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """List the callbacks: id, state, organization, address, types."""
    from shared.database import Database
    from shared.settings import SupabaseSettings, load_settings

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        require_organizations(database, [organization_id])
        found = database.callbacks
        rows = found.list_for(organization_id) if organization_id else found.list_all()
        columns = ("id", "state", "organization_id", "url", "types")
        print_rows([_describe(row) for row in rows], columns, as_json=as_json, empty="no callbacks")


@app.command("deliveries")
def list_deliveries(
    callback_id: AnyCallbackId,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many attempts.")] = 50,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """List the attempts to post events, the newest first: time, event, outcome, status, error."""
    from shared.database import Database
    from shared.settings import SupabaseSettings, load_settings
    from workers.repair.callbacks import find_callback

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        callback = find_callback(callback_id, database)
        found = database.callbacks.list_deliveries(
            callback.id, callback.organization_id, None, limit
        )
        rows = [each.model_dump(mode="json", exclude={"callback_id"}) for each in found]
        columns = ("id", "at", "webhook_id", "type", "attempt", "outcome", "status", "error")
        print_rows(rows, columns, as_json=as_json, empty="no deliveries")


@app.command("replay")
def replay(
    callback_id: AnyCallbackId,
    since: Annotated[datetime, typer.Option(help="From when on, in UTC: 2026-11-29T12:00:00.")],
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Post the events since a time once more, each under its id."""
    from datetime import UTC

    from shared.database import Database
    from shared.settings import SupabaseSettings, load_settings
    from workers.repair.callbacks import replay_since

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        start = since if since.tzinfo else since.replace(tzinfo=UTC)
        callback = replay_since(callback_id, start, database)
        text = f"events since {start:%F %T} UTC are posted again to {callback.url}"
        print_value(text, {"id": callback.id, "since": start}, as_json=as_json)


def _describe(callback: Any) -> dict[str, Any]:
    from workers.repair.callbacks import describe_state

    return {
        "id": callback.id,
        "state": describe_state(callback),
        "organization_id": callback.organization_id,
        "url": callback.url,
        "types": " ".join(callback.types) or "all",
    }

"""Commands that list and repair failures: unknown deliveries, dead letters, logged webhooks."""

import json
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

from workers.cli.errors import UnknownIdError, print_errors
from workers.cli.ids import require_account, require_number, require_organizations
from workers.cli.output import (
    AsJson,
    Organization,
    format_table,
    print_json,
    print_rows,
    print_value,
    show_progress,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis

    from shared.database import Database, DeadLetter, DeadLetterQuery
    from shared.database.models import LogQuery

Ids = Annotated[
    list[UUID] | None, typer.Option("--id", help="Id of an event; may be given several times.")
]
Account = Annotated[str | None, typer.Option(help="Account of an integration on the platform.")]
Since = Annotated[datetime | None, typer.Option(help="From this time on, UTC.")]
Until = Annotated[datetime | None, typer.Option(help="Before this time, UTC.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of lines.")]


def list_unknown(organization_id: Organization = None, as_json: AsJson = False) -> None:  # noqa: FBT002
    """List messages with an unknown delivery, oldest first; `wpp settle` settles a message.

    Below a message: reports of the platform that may be about it, and about another message, too.
    """
    from shared.database import Database
    from shared.errors import ConfigurationError, DatabaseUnavailableError
    from shared.settings import RedisSettings, SupabaseSettings, load_settings
    from workers.repair import unknown
    from workers.repair.shard_clients import ShardClients

    with print_errors(), ExitStack() as stack:
        clients = ShardClients.connect(load_settings(RedisSettings)).by_name.values()
        database = None
        with suppress(ConfigurationError):
            database = stack.enter_context(Database(load_settings(SupabaseSettings)))
        rows = [
            {
                "accepted": message.record.accepted,
                "organization_id": message.record.tenant,
                "id": message.record.id,
                "to": message.phone,
                "reason": message.record.reason or "",
                "perhaps": [
                    {"ids": sorted(orphan.ids), "at": orphan.first_arrived}
                    for orphan in message.perhaps
                ],
            }
            for message in unknown.list_all_unknown(clients, database, organization_id)
        ]
        if not rows and database:
            with suppress(DatabaseUnavailableError):
                require_organizations(database, [organization_id])
        if as_json:
            print_json(rows)
        elif not rows:
            typer.echo("no unknown messages")
        else:
            _print_unknown(rows)


def _print_unknown(rows: "Sequence[Mapping[str, Any]]") -> None:
    columns = ("accepted", "organization_id", "id", "to", "reason")
    header, *lines = format_table(rows, columns)
    typer.echo(header)
    for row, line in zip(rows, lines, strict=True):
        typer.echo(line)
        for each in row["perhaps"]:
            typer.echo(f"    perhaps {' '.join(each['ids'])}, reported at {each['at']:%F %T}")


def set_policy(
    organization_id: Annotated[UUID, typer.Argument(help="Id of the organization.")],
    policy: Annotated[
        Literal["hold", "resend"] | None,
        typer.Argument(help="hold: list it. resend: send it again, twice at most."),
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Print or set what happens to an organization's messages with an unknown delivery.

    With `resend`, a recipient may get a message twice or three times. The default is `hold`.
    """
    from shared.database import Database
    from shared.settings import SupabaseSettings, load_settings

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        require_organizations(database, [organization_id])
        if policy is None:
            current = "resend" if database.policies.resends_unknown(organization_id) else "hold"
            print_value(current, {"policy": current}, as_json=as_json)
            return
        database.policies.set_unknown(organization_id, policy)
        print_value(f"{policy}; effective within two minutes", {"policy": policy}, as_json=as_json)


def list_dead_letters(  # noqa: PLR0913, PLR0917 - one option per filter
    event_id: Ids = None,
    organization_id: Organization = None,
    account: Account = None,
    number: Annotated[
        UUID | None, typer.Option("--number", help="Integration that a message goes out from.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="send, provision, webhook, media or outcome.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Reason, such as refused, expired or not_found.")
    ] = None,
    since: Since = None,
    until: Until = None,
    replayed: Annotated[  # noqa: FBT002
        bool, typer.Option("--replayed", help="Include dead letters that were replayed or dropped.")
    ] = False,
    limit: Limit = 100,
    replay: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--replay", help="Enqueue all matching dead letters again, oldest first."),
    ] = False,
    rate: Annotated[float, typer.Option(help="Replayed events per second.", min=0.1)] = 20,
    drop: Annotated[  # noqa: FBT002
        bool, typer.Option("--drop", help="Close the dead letters of --id: they are not replayed.")
    ] = False,
    why: Annotated[str, typer.Option(help="Why they are dropped; it is kept.")] = "",
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """List dead letters, newest first, or replay or drop them.

    Without a filter, --replay enqueues every dead letter that was not replayed or dropped before.
    A dropped one keeps who dropped it, when and why.
    """
    from shared.database import Database, DeadLetterQuery
    from shared.settings import SupabaseSettings, load_settings

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        query = DeadLetterQuery(
            ids=event_id,
            organization_id=organization_id,
            account=account,
            number=number,
            kind=kind,
            reason=reason,
            since=_as_utc(since),
            until=_as_utc(until),
            replayed=replayed,
            limit=limit,
        )
        _require_known(database, query)
        if drop:
            _drop_dead_letters(database, query, why, as_json=as_json)
        elif replay:
            _replay_dead_letters(database, query, rate, as_json=as_json)
        else:
            _print_dead_letters(database, query, as_json=as_json)


def _require_known(database: "Database", query: "DeadLetterQuery") -> None:
    """Refuse ids that no dead letter has, whether replayed or not, and unknown owners."""
    of_organization = type(query)(organization_id=query.organization_id, replayed=True)
    if query.organization_id and not database.dead_letters.count(of_organization):
        require_organizations(database, [query.organization_id])  # its letters outlive it
    require_account(database, query.account)
    require_number(database, query.number)
    if not query.ids:
        return
    every = type(query)(ids=query.ids, replayed=True, limit=len(query.ids))
    found = database.dead_letters.find(every)
    if missing := set(query.ids) - {letter.id for letter in found}:
        msg = f"no dead letter {', '.join(sorted(map(str, missing)))}"
        raise UnknownIdError(msg)


def _print_dead_letters(database: "Database", query: "DeadLetterQuery", *, as_json: bool) -> None:
    from workers.repair.letters import explain_closed

    letters = database.dead_letters.find(query)
    rows = [
        {
            "at": letter.at,
            "kind": letter.kind,
            "id": letter.id,
            "owner": letter.organization_id or letter.account,
            "attempts": letter.attempts,
            "code": letter.reason,
            "detail": letter.detail,
            "replayed": letter.replayed_at,
            "closed": explain_closed(letter),
        }
        for letter in letters
    ]
    columns = ["at", "kind", "id", "owner", "code", "detail", "replayed"]
    columns += ["closed"] if query.replayed else []
    print_rows(rows, columns, as_json=as_json, empty="no dead letters")
    if len(letters) == query.limit and not as_json:
        typer.echo(f"{database.dead_letters.count(query)} in all")


def _drop_dead_letters(
    database: "Database", query: "DeadLetterQuery", why: str, *, as_json: bool
) -> None:
    from workers.repair.letters import drop_letters, name_operator

    if not query.ids or not why.strip():
        msg = "--drop needs the --id of each dead letter, and --why"
        raise ValueError(msg)
    dropped = drop_letters(query.ids, name_operator(), why.strip(), database)
    closed = len(set(query.ids)) - len(dropped)
    text = f"{len(dropped)} dropped" + (f", {closed} closed before" if closed else "")
    print_value(text, {"dropped": len(dropped), "closed_before": closed}, as_json=as_json)


def _replay_dead_letters(
    database: "Database", query: "DeadLetterQuery", rate: float, *, as_json: bool
) -> None:
    from shared.lanes.client import Lanes
    from shared.settings import EngineSettings, RedisSettings, load_settings
    from workers.dead_letters import Replayer
    from workers.repair.letters import name_operator
    from workers.repair.shard_clients import ShardClients

    shards = ShardClients.connect(load_settings(RedisSettings))
    lanes = Lanes(shards.home, load_settings(EngineSettings))

    def find_client(letter: "DeadLetter") -> "redis.Redis":
        return shards.of_owner(letter.organization_id, letter.account, database)

    replayer = Replayer(shards.home, lanes, database, rate, by=name_operator())
    replayer.find_client = find_client
    letters = database.dead_letters.iterate(query)
    total = database.dead_letters.count(query)
    replayed, skipped = replayer.replay(show_progress(letters, total, "replayed"))
    print_value(
        f"{replayed} replayed, {skipped} skipped (queued, done or unreadable)",
        {"replayed": replayed, "skipped": skipped},
        as_json=as_json,
    )


def list_webhooks(  # noqa: PLR0913, PLR0917 - one option per filter
    event_id: Ids = None,
    account: Account = None,
    event_type: Annotated[
        str | None, typer.Option("--type", help="Event type of the platform, such as message.")
    ] = None,
    became: Annotated[
        str | None, typer.Option(help="Result, such as message, status, unknown or dead.")
    ] = None,
    unrecognized: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--unrecognized",
            help="What was not understood, by type, with a sample whose values are masked.",
        ),
    ] = False,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    replay: Annotated[  # noqa: FBT002
        bool, typer.Option("--replay", help="Apply all matching webhooks again.")
    ] = False,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """List the webhooks that the platform sent, newest first, or apply them again.

    --replay needs a filter. Applying a webhook twice has no second effect. After an upgrade,
    `--replay --unrecognized` files what is understood by now.
    """
    from shared.database import Database
    from shared.database.models import LogQuery
    from shared.settings import SupabaseSettings, load_settings

    with print_errors():
        query = LogQuery(
            ids=event_id,
            account=account,
            event_type=event_type,
            became=became,
            unrecognized=unrecognized,
            since=_as_utc(since),
            until=_as_utc(until),
        )
        with Database(load_settings(SupabaseSettings)) as database:
            require_account(database, account)
            if replay:
                _replay_webhooks(database, query, as_json=as_json)
            elif unrecognized:
                _print_unrecognized(database, query, limit, as_json=as_json)
            else:
                _print_webhooks(database, query, limit, as_json=as_json)


def _print_webhooks(database: "Database", query: "LogQuery", limit: int, *, as_json: bool) -> None:
    events = database.webhook_log.find(query, limit)
    if missing := set(query.ids or ()) - {event.id for event in events}:
        msg = f"no webhook {', '.join(sorted(map(str, missing)))}"
        raise UnknownIdError(msg)
    rows = [
        {
            "at": event.at,
            "account": event.account,
            "id": event.id,
            "type": event.event_type,
            "became": event.became,
            "error": event.error,
        }
        for event in events
    ]
    columns = ("at", "account", "id", "type", "became", "error")
    print_rows(rows, columns, as_json=as_json, empty="no webhooks")


def _print_unrecognized(
    database: "Database", query: "LogQuery", limit: int, *, as_json: bool
) -> None:
    from workers.repair.samples import mask_values

    rows = [
        {
            "events": each.events,
            "type": each.event_type,
            "became": each.became,
            "last": each.last_at,
            "last_id": each.event_id,
            "sample": mask_values(each.payload),
        }
        for each in database.webhook_log.list_unrecognized(query, limit)
    ]
    if as_json:
        print_json(rows)
        return
    columns = ("events", "type", "became", "last", "last_id", "sample")
    shown = [row | {"sample": json.dumps(row["sample"], ensure_ascii=False)} for row in rows]
    print_rows(shown, columns, as_json=False, empty="nothing was not understood")


def _replay_webhooks(database: "Database", query: "LogQuery", *, as_json: bool) -> None:
    from dataclasses import asdict

    from workers.repair.webhooks import replay_events

    if not query.model_dump(exclude_defaults=True):
        msg = (
            "--replay needs a filter: --since, --until, --account, --id, --type, --became "
            "or --unrecognized"
        )
        raise ValueError(msg)
    events = database.webhook_log.iterate(query)
    moving = show_progress(events, database.webhook_log.count(query), "replayed")
    count = replay_events(moving, database.outcomes.apply)
    text = (
        f"{count.events} events: {count.applied} outcomes applied, {count.skipped} skipped, "
        f"{count.refused} refused, {count.set_aside} set aside (see wpp lanes)"
        + (f", {count.unrecognized} not understood yet" if count.unrecognized else "")
    )
    print_value(text, asdict(count), as_json=as_json)


def _as_utc(time: datetime | None) -> datetime | None:
    return time and time.replace(tzinfo=UTC)

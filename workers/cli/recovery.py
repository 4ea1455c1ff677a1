"""Commands that list and repair failures: unknown deliveries, dead letters, logged webhooks."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

import redis
import typer

from shared.database import Database, DeadLetterQuery
from shared.database.models import LogQuery
from shared.errors import ConfigurationError, DatabaseError
from shared.events import utc_now
from shared.lanes.client import Lanes
from shared.lanes.records import find_records, find_unknown
from shared.redis import connect
from shared.settings import EngineSettings, RedisSettings, SupabaseSettings, load_settings
from workers.cli.errors import print_errors
from workers.cli.samples import mask_values
from workers.dead_letters import Replayer
from workers.send.matching import Orphan
from workers.send.proofs import LOOK_BACK, find_claimants
from workers.webhook.replay import replay_events

Ids = Annotated[
    list[UUID] | None, typer.Option("--id", help="Id of an event; may be given several times.")
]
Organization = Annotated[UUID | None, typer.Option("--organization", help="Id of an organization.")]
Account = Annotated[str | None, typer.Option(help="Account of an integration on the platform.")]
Since = Annotated[datetime | None, typer.Option(help="From this time on, UTC.")]
Until = Annotated[datetime | None, typer.Option(help="Before this time, UTC.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of lines.")]

FOREIGN_KEY_VIOLATION = "23503"


def list_unknown(organization_id: Organization = None) -> None:
    """List messages with an unknown delivery, oldest first; `wpp settle` settles a message.

    Below a message: reports of the platform that may be about it, and about another message, too.
    """
    with print_errors():
        client = connect(load_settings(RedisSettings).redis_url)
        claimants = _find_claimants(client)
        tenant = str(organization_id) if organization_id else None
        for record in find_unknown(client, tenant):
            recipient = record.lane.rpartition(":")[2]
            typer.echo(
                f"{record.accepted:%F %T}  {record.tenant}  {record.id}  {recipient}  "
                f"{record.reason or ''}"
            )
            for orphan in claimants.get(record.id, ()):
                ids = " ".join(sorted(orphan.ids))
                typer.echo(f"    perhaps {ids}, reported at {orphan.first_arrived:%F %T}")


def _find_claimants(client: "redis.Redis") -> Mapping[UUID, Sequence[Orphan]]:
    """Return reports that may be about messages of unknown delivery, where Supabase answers."""
    try:
        with Database(load_settings(SupabaseSettings)) as database:
            evidence = database.messages.load_evidence(utc_now() - LOOK_BACK)
    except (ConfigurationError, DatabaseError):
        return {}
    return find_claimants(evidence, lambda ids: find_records(client, ids))


def set_policy(
    organization_id: Annotated[UUID, typer.Argument(help="Id of the organization.")],
    policy: Annotated[
        Literal["hold", "resend"] | None,
        typer.Argument(help="hold: list it. resend: send it again, twice at most."),
    ] = None,
) -> None:
    """Print or set what happens to an organization's messages with an unknown delivery.

    With `resend`, a recipient may get a message twice or three times. The default is `hold`.
    """
    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        if policy is None:
            typer.echo("resend" if database.policies.resends_unknown(organization_id) else "hold")
            return
        try:
            database.policies.set_unknown(organization_id, policy)
        except DatabaseError as error:
            if error.sqlstate != FOREIGN_KEY_VIOLATION:
                raise
            msg = f"there is no organization {organization_id}"
            raise ValueError(msg) from None
        typer.echo(f"{policy}; effective within two minutes")


def list_dead_letters(  # noqa: PLR0913, PLR0917 - one option per filter
    event_id: Ids = None,
    organization_id: Organization = None,
    account: Account = None,
    kind: Annotated[
        str | None, typer.Option(help="send, provision, webhook, media or outcome.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Reason, such as refused, expired or not_found.")
    ] = None,
    since: Since = None,
    until: Until = None,
    replayed: Annotated[  # noqa: FBT002
        bool, typer.Option("--replayed", help="Include dead letters that were replayed.")
    ] = False,
    limit: Limit = 100,
    replay: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--replay", help="Enqueue all matching dead letters again, oldest first."),
    ] = False,
    rate: Annotated[float, typer.Option(help="Replayed events per second.", min=0.1)] = 20,
) -> None:
    """List dead letters, newest first, or replay them.

    Without a filter, --replay enqueues every dead letter that was not replayed before.
    """
    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        query = DeadLetterQuery(
            ids=event_id,
            organization_id=organization_id,
            account=account,
            kind=kind,
            reason=reason,
            since=_as_utc(since),
            until=_as_utc(until),
            replayed=replayed,
            limit=limit,
        )
        if replay:
            _replay_dead_letters(database, query, rate)
        else:
            _print_dead_letters(database, query)


def _print_dead_letters(database: Database, query: DeadLetterQuery) -> None:
    letters = database.dead_letters.find(query)
    for letter in letters:
        owner = letter.organization_id or letter.account or ""
        suffix = " (replayed)" if letter.replayed_at else ""
        typer.echo(
            f"{letter.at:%F %T}  {letter.kind:9}  {letter.id}  {owner}  "
            f"{letter.reason}: {letter.detail}{suffix}"
        )
    if len(letters) == query.limit:
        typer.echo(f"{database.dead_letters.count(query)} in all")


def _replay_dead_letters(database: Database, query: DeadLetterQuery, rate: float) -> None:
    client = connect(load_settings(RedisSettings).redis_url)
    replayer = Replayer(client, Lanes(client, load_settings(EngineSettings)), database, rate)
    replayed, skipped = replayer.replay(database.dead_letters.iterate(query))
    typer.echo(f"{replayed} replayed, {skipped} skipped (queued, done or unreadable)")


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
) -> None:
    """List the webhooks that the platform sent, newest first, or apply them again.

    --replay needs a filter. Applying a webhook twice has no second effect. After an upgrade,
    `--replay --unrecognized` files what is understood by now.
    """
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
            if replay:
                _replay_webhooks(database, query)
            elif unrecognized:
                _print_unrecognized(database, query, limit)
            else:
                _print_webhooks(database, query, limit)


def _print_webhooks(database: Database, query: LogQuery, limit: int) -> None:
    for event in database.webhook_log.find(query, limit):
        error = f": {event.error}" if event.error else ""
        typer.echo(
            f"{event.at:%F %T}  {event.account}  {event.id}  {event.event_type}  "
            f"{event.became}{error}"
        )


def _print_unrecognized(database: Database, query: LogQuery, limit: int) -> None:
    for each in database.webhook_log.list_unrecognized(query, limit):
        typer.echo(
            f"{each.events:8}  {each.event_type}  {each.became}  "
            f"last {each.last_at:%F %T} {each.event_id}"
        )
        typer.echo(f"          {json.dumps(mask_values(each.payload), ensure_ascii=False)}")


def _replay_webhooks(database: Database, query: LogQuery) -> None:
    if not query.model_dump(exclude_defaults=True):
        msg = (
            "--replay needs a filter: --since, --until, --account, --id, --type, --became "
            "or --unrecognized"
        )
        raise ValueError(msg)
    count = replay_events(database.webhook_log.iterate(query), database.outcomes.apply)
    typer.echo(
        f"{count.events} events: {count.applied} outcomes applied, {count.skipped} skipped, "
        f"{count.refused} refused, {count.set_aside} set aside (see wpp lanes)"
        + (f", {count.unrecognized} not understood yet" if count.unrecognized else "")
    )


def _as_utc(time: datetime | None) -> datetime | None:
    return time and time.replace(tzinfo=UTC)

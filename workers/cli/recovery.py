"""The operator's commands for what went wrong: what nobody knows, what has failed, and what arrived."""

from datetime import UTC, datetime
from enum import Enum
from typing import Annotated
from uuid import UUID

import typer

from shared.database import Database, DeadLetterQuery
from shared.database.models import LogQuery
from shared.database.webhook_log import WebhookLog
from shared.errors import DatabaseError
from shared.lanes.client import Lanes
from shared.redis import connect
from shared.settings import EngineSettings, RedisSettings, SupabaseSettings, load_settings
from workers.cli.errors import print_errors
from workers.cli.status import unknown_messages
from workers.dead_letters import Replayer
from workers.webhook.replay import replay_events as apply_again

Ids = Annotated[
    list[UUID] | None, typer.Option("--id", help="Of the event; may be given several times.")
]
Organization = Annotated[UUID | None, typer.Option("--organization")]
Account = Annotated[str | None, typer.Option(help="The number's account on the platform.")]
Since = Annotated[datetime | None, typer.Option(help="UTC, included.")]
Until = Annotated[datetime | None, typer.Option(help="UTC, not included.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many are listed.")]
Rate = Annotated[float, typer.Option(help="How many a second.", min=0.1)]


class Choice(Enum):
    HOLD = "hold"
    RESEND = "resend"


def unknown(organization_id: Organization = None) -> None:
    """List the messages of which nobody knows whether they went out: wpp settle says what became of one."""
    with print_errors():
        for record in unknown_messages(
            connect(load_settings(RedisSettings).redis_url), organization_id
        ):
            to = record.lane.rpartition(":")[2]
            typer.echo(
                f"{record.accepted:%F %T}  {record.tenant}  {record.id}  {to}  {record.reason or ''}"
            )


def policy(
    organization_id: UUID, choice: Annotated[Choice | None, typer.Argument()] = None
) -> None:
    """Show or choose what becomes of such messages: hold shows them, resend sends them again and may double them."""
    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        if choice is None:
            typer.echo("resend" if database.policies.resends_unknown(organization_id) else "hold")
            return
        try:
            database.policies.set_unknown(organization_id, choice.value)
        except DatabaseError as error:
            if error.sqlstate != "23503":
                raise
            msg = f"there is no organization {organization_id}"
            raise ValueError(msg) from None
        typer.echo(f"{choice.value}, from a minute or two from now")


def dead(  # noqa: PLR0913, PLR0917 - one option for each way to choose
    event_id: Ids = None,
    organization_id: Organization = None,
    account: Account = None,
    kind: Annotated[
        str | None, typer.Option(help="send, provision, webhook, media or outcome.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Such as refused, expired, not_found.")] = None,
    since: Since = None,
    until: Until = None,
    replayed: Annotated[  # noqa: FBT002
        bool, typer.Option("--replayed", help="Also those that were replayed.")
    ] = False,
    limit: Limit = 100,
    replay: Annotated[  # noqa: FBT002
        bool, typer.Option("--replay", help="Put all of them back, the oldest first.")
    ] = False,
    rate: Rate = 20,
) -> None:
    """List what ended without success, the newest first; with --replay, put it back."""
    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        query = DeadLetterQuery(
            ids=event_id,
            organization_id=organization_id,
            account=account,
            kind=kind,
            reason=reason,
            since=_utc(since),
            until=_utc(until),
            replayed=replayed,
            limit=limit,
        )
        _replay_dead(database, query, rate) if replay else _list_dead(database, query)


def _list_dead(database: Database, query: DeadLetterQuery) -> None:
    letters = database.dead_letters.find(query)
    for letter in letters:
        whose = letter.organization_id or letter.account or ""
        again = " (replayed)" if letter.replayed_at else ""
        typer.echo(
            f"{letter.at:%F %T}  {letter.kind:9}  {letter.id}  {whose}  {letter.reason}: {letter.detail}{again}"
        )
    if len(letters) == query.limit:
        typer.echo(f"{database.dead_letters.count(query)} in all")


def _replay_dead(database: Database, query: DeadLetterQuery, rate: float) -> None:
    client = connect(load_settings(RedisSettings).redis_url)
    replayer = Replayer(client, Lanes(client, load_settings(EngineSettings)), database, rate)
    back, left = replayer.replay(database.dead_letters.iterate(query))
    typer.echo(
        f"{back} put back, {left} left as they are (on their way or done already, or unreadable)"
    )


def raw_log(  # noqa: PLR0913, PLR0917 - one option for each way to choose
    event_id: Ids = None,
    account: Account = None,
    event_type: Annotated[str | None, typer.Option("--type")] = None,
    became: Annotated[
        str | None, typer.Option(help="Such as message, status, unknown, dead.")
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    replay: Annotated[bool, typer.Option("--replay", help="Apply all of them once more.")] = False,  # noqa: FBT002
) -> None:
    """List what the platform told us, the newest first; with --replay, apply it again: only what is wrong changes."""
    with print_errors():
        query = LogQuery(
            ids=event_id,
            account=account,
            event_type=event_type,
            became=became,
            since=_utc(since),
            until=_utc(until),
        )
        with Database(load_settings(SupabaseSettings)) as database:
            if replay:
                _replay_log(database, query)
            else:
                _list_log(database.webhook_log, query, limit)


def _list_log(log: WebhookLog, query: LogQuery, limit: int) -> None:
    for event in log.find(query, limit):
        wrong = f": {event.error}" if event.error else ""
        typer.echo(
            f"{event.at:%F %T}  {event.account}  {event.id}  {event.event_type}  {event.became}{wrong}"
        )


def _replay_log(database: Database, query: LogQuery) -> None:
    if not query.model_dump(exclude_none=True):
        msg = "say which: --since, --account, --id, --type or --became"
        raise ValueError(msg)
    count = apply_again(database.webhook_log.iterate(query), database.outcomes.apply)
    typer.echo(
        f"{count.events} events: {count.applied} outcomes applied, {count.left} left out, {count.refused} refused, "
        f"{count.busy} locked by somebody (replay again)"
    )


def _utc(time: datetime | None) -> datetime | None:
    return time and time.replace(tzinfo=UTC)

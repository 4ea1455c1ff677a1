"""`wpp reconcile`: what Redis and Supabase know of messages, after a restore of either."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import typer

from workers.cli.errors import print_errors
from workers.cli.output import AsJson, print_value

MEANINGS = {
    "sent": "are sent, as Supabase shows",
    "failed": "have failed, as Supabase or Redis shows",
    "cancelled": "were cancelled or deleted, as Supabase or Redis shows",
    "unknown": "may have gone out: unknown (wpp unknown)",
    "scheduled": "are for a later date, and stay",
    "waiting": "wait, and go on",
    "recalled": "are known to Supabase alone: a repeated request for them sends nothing",
    "lost": "of these had not gone out as far as Supabase knows: unknown",
    "rows": "get their row back",
    "missing": "have ended without a row: only their record is left",
}


def reconcile(
    restored: Annotated[
        Literal["redis", "supabase"], typer.Argument(help="Which of them was restored, or lost.")
    ],
    apply: Annotated[  # noqa: FBT002
        bool, typer.Option("--apply", help="Change it; without, only say what would change.")
    ] = False,
    send_waiting: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--send-waiting",
            help="Send what waits in Redis and in Supabase: only if nothing was sent after the "
            "backup, as on a planned move. Otherwise it becomes unknown.",
        ),
    ] = False,
    days: Annotated[
        float, typer.Option(min=0.01, help="How far back messages of Supabase are looked at.")
    ] = 8,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Bring Redis and Supabase together after a restore of either: nothing is sent twice.

    Before the processes that send and the clock start again. Safe to repeat. See docs/backup.md.
    Of several shards it is that of WPP_SHARD.
    """
    from shared.database import Database
    from shared.lanes.client import Lanes
    from shared.redis import connect
    from shared.settings import EngineSettings, RedisSettings, SupabaseSettings, load_settings
    from shared.shards import ShardPart
    from workers.repair.reconcile import Reconciler

    with print_errors(), Database(load_settings(SupabaseSettings)) as database:
        settings = load_settings(RedisSettings)
        client = connect(settings.redis_url)
        lanes = Lanes(client, load_settings(EngineSettings))
        reconciler = Reconciler(client, lanes, database, apply=apply, part=ShardPart.of(settings))
        if restored == "supabase":
            reconciler.follow_redis()
        else:
            reconciler.require_stopped()
            since = datetime.now(UTC) - timedelta(days=days)
            reconciler.follow_supabase(since, hold=not send_waiting)
        counts = {name: count for name, count in reconciler.counts.items() if count}
        lines = [f"{count:8}  messages {MEANINGS[name]}" for name, count in counts.items()]
        lines += ["done" if apply else "nothing was changed: repeat it with --apply"]
        print_value("\n".join(lines), counts | {"applied": apply}, as_json=as_json)

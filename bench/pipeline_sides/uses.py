"""What a load uses besides CPU: commands and bytes of Redis, transactions and WAL of Postgres."""

from typing import Any

from bench.pipeline_sides.world import World

UNITS = {
    "Redis commands": "cmds",
    "Redis scripts": "scripts",
    "Redis traffic": "bytes",
    "Redis log": "bytes",
    "database transactions": "txs",
    "database log": "bytes",
}
"""`Redis commands` counts those inside scripts, too. A log is the AOF, or the WAL."""


def read_uses(redis: Any, world: World) -> dict[str, float]:
    """Return the counters so far. Those of Postgres are a second late."""
    commands, everything = redis.info("commandstats"), redis.info()
    [(transactions, log)] = world.sql(
        """
        select xact_commit, pg_current_wal_lsn() - '0/0'::pg_lsn
        from pg_stat_database where datname = current_database()
        """
    )
    return {
        "Redis commands": sum(each["calls"] for each in commands.values()),
        "Redis scripts": commands.get("cmdstat_evalsha", {"calls": 0})["calls"],
        "Redis traffic": everything["total_net_input_bytes"] + everything["total_net_output_bytes"],
        "Redis log": everything["aof_current_size"],
        "database transactions": float(transactions),
        "database log": float(log),
    }

"""Liveness of the processes on this machine: `python -m workers.health send`.

Exits with 1, and says why, when the role (a queue, `record`, `clock` or `web`) has no process here
that reported and made progress lately. While Redis is away it exits with 0: a restart would help
nothing, and would lose the results of events in flight.
"""

import socket
import sys

import redis

from shared import processes
from shared.redis import connect
from shared.settings import RedisSettings, load_settings

ROLES = (*processes.CONSUMERS, processes.WEB)


def main(roles: list[str]) -> int:
    """Print what is wrong with the roles here; return the exit code."""
    if unknown := sorted(set(roles) - set(ROLES)) or not roles:
        print(f"name roles of {', '.join(ROLES)}, not {unknown}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        client = connect(load_settings(RedisSettings).redis_url)
        faults = processes.find_faults(client, roles, socket.gethostname())
    except redis.RedisError as error:
        print(f"Redis does not answer, so nothing is known: {error}")  # noqa: T201
        return 0
    for fault in faults:
        print(fault)  # noqa: T201
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

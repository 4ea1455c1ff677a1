"""The running processes, as each of them reports to Redis every few seconds.

A process that consumes nothing reports as well, with the time of its last progress: so a
stuck process is told from a missing process.
"""

import json
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import redis

from shared.events import QUEUE_NAMES
from shared.redis import keys
from shared.redis.scripts import LuaScript
from shared.version import VERSION

SILENT_S = 20.0
"""A process that has not reported for this long is gone."""
STALLED_S = 23.0
"""A process that reports, and made no progress for this long, is stuck. Reports come every 8 s."""
FORGOTTEN_S = 3600.0
WEB, RECORDER, CLOCK = "web", "record", "clock"
CONSUMERS: tuple[str, ...] = (*QUEUE_NAMES, RECORDER, CLOCK)
"""The roles without which events wait: the queues of the workers, the recorder and the clock."""

BEAT = LuaScript("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local report = cjson.decode(ARGV[2])
report.at_ms = now
if report.started_ms == 0 then report.started_ms = now end
if ARGV[3] == '1' then report.progress_ms = now end
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(report))
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
return {report.started_ms, report.progress_ms, now}
""")
"""Report a process with the time of Redis, in a single command."""


@dataclass(frozen=True)
class RunningProcess:
    """A report. `roles` are the queues of a worker, or `web`, `record`, `clock`; times in ms."""

    roles: Sequence[str]
    host: str
    pid: int
    threads: int
    started_ms: int
    at_ms: int
    progress_ms: int

    @classmethod
    def of_this_process(cls, roles: Iterable[str], threads: int, now_ms: int) -> Self:
        host, pid = socket.gethostname(), os.getpid()
        return cls(tuple(roles), host, pid, threads, now_ms, now_ms, now_ms)

    @property
    def name(self) -> str:
        return f"{self.host}:{self.pid}"

    def silent_s(self, now_ms: int) -> float:
        return (now_ms - self.at_ms) / 1000

    @property
    def stalled_s(self) -> float:
        """For how long it made no progress, as of its last report."""
        return (self.at_ms - self.progress_ms) / 1000


def read_time(reply: Any) -> int:
    """Return Redis' answer to TIME, in ms."""
    seconds, microseconds = reply
    return int(seconds) * 1000 + int(microseconds) // 1000


def now_ms(client: "redis.Redis") -> int:
    """Return the time of Redis, which all processes share."""
    return read_time(client.time())


def report(client: "redis.Redis", process: RunningProcess) -> None:
    """Store a report. The version stands apart: readers of 0.1 refuse a field that they lack."""
    pipe = client.pipeline(transaction=False)
    pipe.hset(keys.PROCESSES, process.name, json.dumps(asdict(process)))
    pipe.hset(keys.PROCESS_VERSIONS, process.name, VERSION)
    pipe.execute()


def beat(client: "redis.Redis", process: RunningProcess, *, moved: bool) -> RunningProcess:
    """Report a process by the time of Redis, and return the report. `started_ms` 0 is now."""
    arguments = [process.name, json.dumps(asdict(process)), int(moved), VERSION]
    names = [keys.PROCESSES, keys.PROCESS_VERSIONS]
    started_ms, progress_ms, at_ms = BEAT.run(client, names, arguments)
    return replace(process, started_ms=started_ms, progress_ms=progress_ms, at_ms=at_ms)


def forget(client: "redis.Redis", *names: str) -> None:
    """Remove processes that have stopped."""
    pipe = client.pipeline(transaction=False)
    pipe.hdel(keys.PROCESSES, *names)
    pipe.hdel(keys.PROCESS_VERSIONS, *names)
    pipe.execute()


def list_versions(client: "redis.Redis") -> dict[str, str]:
    """Return {process: version}; a process of before versions were reported is left out."""
    stored: Any = client.hgetall(keys.PROCESS_VERSIONS)
    return {name.decode(): version.decode() for name, version in stored.items()}


def parse_reports(stored: Mapping[bytes, bytes]) -> list[RunningProcess]:
    """Read reports; what a newer version adds to them is left out."""
    names = {each.name for each in fields(RunningProcess)}
    found = [json.loads(value) for value in stored.values()]
    return [
        RunningProcess(**{name: value for name, value in each.items() if name in names})
        for each in found
    ]


def list_processes(client: "redis.Redis", at_ms: int) -> list[RunningProcess]:
    """Return all reports; those of an hour ago are removed."""
    stored: Any = client.hgetall(keys.PROCESSES)
    found = parse_reports(stored)
    if gone := [each.name for each in found if each.silent_s(at_ms) > FORGOTTEN_S]:
        forget(client, *gone)
    return [each for each in found if each.name not in gone]


def find_faults(
    client: "redis.Redis", roles: Iterable[str] = CONSUMERS, host: str | None = None
) -> list[str]:
    """Return `describe_faults` of what is reported now; raises redis.RedisError."""
    at_ms = now_ms(client)
    return describe_faults(list_processes(client, at_ms), at_ms, roles, host)


def describe_faults(
    reports: Iterable[RunningProcess],
    at_ms: int,
    roles: Iterable[str] = CONSUMERS,
    host: str | None = None,
) -> list[str]:
    """Return a sentence for each role that no process fills, on `host` or anywhere.

    Within 30 s of its end or its last progress, a process fills no role. On a host, each process
    has to make progress; elsewhere a single process is enough.
    """
    running = [
        each for each in reports if each.silent_s(at_ms) <= SILENT_S and host in {None, each.host}
    ]
    faults = []
    for role in roles:
        filling = [each for each in running if role in each.roles]
        choose = max if host else min
        stalled_s = choose((each.stalled_s for each in filling), default=0.0)
        names = ", ".join(each.name for each in filling if each.stalled_s >= STALLED_S)
        if not filling:
            faults.append(f"{role}: no process runs")
        elif stalled_s >= STALLED_S:
            faults.append(f"{role}: {names} made no progress for {stalled_s:.0f} s")
    return faults

"""Redis is lost and restored from a backup: nothing is sent twice, and all is accounted for."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sandbox.pipeline import ROOT
from sandbox.ports import LOCALHOST
from sandbox.processes import Program
from sandbox.redis import RedisServer, find_executable
from shared.redis import keys
from shared.redis.client import check_durability
from tests.faults.audit import wait_until_drained
from tests.faults.callers import AcceptedMessage, Callers, make_conversations
from tests.faults.conftest import PrintProgress, wait_until_ready
from tests.faults.environment import FaultEnvironment, short_timeouts
from tests.fixtures.fleet import Fleet
from tests.fixtures.waiting import wait_until

START_WITHIN_S = 100.0
PAGE = ROOT / "docs" / "backup.md"


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_a_restored_redis_sends_nothing_twice(
    env: FaultEnvironment, print_progress: PrintProgress
) -> None:
    """What was sent since the backup stays sent; what cannot be known is unknown."""
    tag = f"backup-{time.time_ns()}"
    with psycopg.connect(env.supabase.database_url) as connection:
        connection.execute("delete from chat_messages")  # of earlier tests: each would be recalled
    callers = Callers(env, tag, make_conversations(env, 2))
    send_round(env, callers, 0)
    accept_round(env, callers, 1)
    backup = back_up(env)
    send_round(env, callers, 2)
    accept_round(env, callers, 3)
    accepted = list(callers.accepted)
    with restored(env, backup) as server:
        counts = reconcile(env)
        print_progress(f"{len(accepted)} messages, restored and reconciled: {counts}")
        each = len(accepted) // 4
        assert counts == {"sent": each, "recalled": 2 * each, "lost": each, "applied": True}
        send_round(env, callers, 2)  # repeats requests of the lost time, with their keys
        repeated = callers.accepted[len(accepted) :]
        assert {message.id for message in repeated} == {
            message.id for message in accepted if message.seq == 2
        }
        assert all(message.is_replayed for message in repeated)
        known = {message.text for message in accepted if message.seq != 3}
        assert Counter(sent_texts(env, tag)) == Counter(known)
        assert statuses(env, accepted) == {0: "sent", 1: "sent", 2: "sent", 3: "unknown"}
        assert reconcile(env) == {"applied": True}, "once more, nothing is left to do"
        accept_round(env, callers, 4)
        server.restart()
        since = [message.id for message in callers.accepted if message.seq == 4]
        assert [id_ for id_ in since if not env.client.exists(keys.event(id_))] == []


def send_round(env: FaultEnvironment, callers: Callers, seq: int) -> None:
    """Send a message in each conversation, by all processes; these are killed in the end."""
    with Fleet({**env.environment, **short_timeouts()}, env.logs / "backup"):
        wait_until_ready(env, START_WITHIN_S)
        callers.send(1, first=seq)
        wait_until_drained(env, 90)


def accept_round(env: FaultEnvironment, callers: Callers, seq: int) -> None:
    """Accept a message in each conversation, with a row in Supabase; nothing sends them."""
    with Fleet(env.environment, env.logs / "backup", {"web": 1, "record": 1}):
        wait_until_ready(env, START_WITHIN_S)
        callers.send(1, first=seq)
        ids = list({message.id for message in callers.accepted})
        count = "select count(*) from chat_messages where id = any(%s)"
        wait_until(lambda: env.rows(count, ids) == [(len(ids),)], "the rows", 60)
        wait_until(lambda: env.client.xlen(keys.OUTBOX) == 0, "an empty outbox", 60)


def back_up(env: FaultEnvironment) -> Path:
    """Write an RDB file, as `redis-cli --rdb` does; return its place."""
    env.client.save()
    place = env.logs / "wpp.rdb"
    shutil.copy(env.redis.directory / "dump.rdb", place)
    return place


class ConfiguredRedis(RedisServer):
    """A Redis with a configuration file, which begins as docs/backup.md says for a restore."""

    def __init__(self, directory: Path, port: int) -> None:
        super().__init__(directory, port)
        lines = (
            f"bind {LOCALHOST}",
            f"port {port}",
            f"dir {directory}",
            "appendonly no",
            "appendfsync always",
            "maxmemory-policy noeviction",
            'save ""',
        )
        self.file = directory / "redis.conf"
        self.file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _make_program(self) -> Program:
        command = (str(find_executable()), str(self.file))
        return Program("redis-server", command, self.directory / "redis.log", self.port)


@contextmanager
def restored(env: FaultEnvironment, backup: Path) -> Iterator[ConfiguredRedis]:
    """Lose Redis with its disk; run a new one from the backup, by the steps of docs/backup.md."""
    env.redis.kill()
    shutil.rmtree(env.redis.directory)
    env.redis.directory.mkdir()
    shutil.copy(backup, env.redis.directory / "dump.rdb")
    try:
        with ConfiguredRedis(env.redis.directory, env.redis.port) as server:
            for command in read_commands():
                run_command(env, command)
            server.restart()
            check_durability(env.client)
            yield server
    finally:
        env.redis.start()


def read_commands() -> list[list[str]]:
    """Return the arguments of each redis-cli of the page's steps."""
    found = re.search(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, "no commands"
    commands = [shlex.split(line, comments=True) for line in found[1].splitlines()]
    assert {command[0] for command in commands if command} == {"redis-cli"}
    return [command[1:] for command in commands if command]


def run_command(env: FaultEnvironment, arguments: list[str]) -> None:
    """Run redis-cli; with `info` the page says how long."""
    if arguments[0] == "info":
        wait_until(lambda: not rewrites(env), "the append-only file")
    program = [str(find_executable().with_name("redis-cli")), "-p", str(env.redis.port)]
    answer = subprocess.run([*program, *arguments], check=True, capture_output=True, text=True)
    assert not answer.stdout.startswith("ERR"), answer.stdout


def rewrites(env: FaultEnvironment) -> bool:
    found: dict[str, Any] = env.client.info("persistence")
    return bool(found["aof_rewrite_in_progress"] or found.get("aof_rewrite_scheduled"))


def reconcile(env: FaultEnvironment) -> dict[str, Any]:
    command = [sys.executable, "-m", "workers.cli.app", "reconcile", "redis", "--apply", "--json"]

    def run() -> str:
        """Return what it prints; nothing while killed processes count as running, for 20 s."""
        ended = subprocess.run(
            command, env=env.environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0 or "stop the processes" in ended.stderr, ended.stderr
        return ended.stdout

    found: dict[str, Any] = json.loads(wait_until(run, "no process that sends", 60, poll_s=1))
    return found


def sent_texts(env: FaultEnvironment, tag: str) -> list[str]:
    return [each["text"] for each in env.messages() if each["text"].startswith(f"{tag} ")]


def statuses(env: FaultEnvironment, messages: list[AcceptedMessage]) -> dict[int, str]:
    """Return the status of each round; delivered and read are sent as well."""
    query = "select id, message_status::text from chat_messages where id = any(%s)"
    found: dict[Any, str] = dict(env.rows(query, [message.id for message in messages]))
    shown = {
        (message.seq, "sent" if status in {"delivered", "read"} else status)
        for message in messages
        if (status := found[message.id])
    }
    assert len(shown) == len({seq for seq, _ in shown}), shown
    return dict(sorted(shown))

"""Organizations on two Redis with workers of their own: the promises hold on both."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest

from sandbox.pipeline import ROOT
from shared.redis import keys
from tests.faults.audit import assert_guarantees
from tests.faults.callers import Callers, make_conversations
from tests.faults.conftest import PrintProgress, StartFleet
from tests.faults.environment import FaultEnvironment, short_timeouts
from tests.faults.test_upgrade import sending
from tests.faults.two_shards import HOME, OTHER, WORKERS, TwoShards, open_shards
from tests.fixtures.waiting import wait_until


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_a_shard_that_is_away_stops_its_organizations_alone(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress, tmp_path: Path
) -> None:
    """Accepted messages go out once, in order; incoming messages find their shard."""
    tag = f"shards-{time.time_ns()}"
    here, there = env.integrations[0], env.integrations[1]
    with open_shards(env, tmp_path / "b") as shards:
        shards.place({here.organization_id: HOME, there.organization_id: OTHER})
        start_fleet(short_timeouts(**shards.settings(OTHER)), WORKERS)
        start_fleet(short_timeouts(**shards.settings(HOME)), {**WORKERS, "web": 1})
        callers = Callers(env, tag, make_conversations(env, 4))
        callers.send(2)
        print_progress(
            f"{len(callers.accepted)} accepted for {len(env.integrations)} organizations"
        )
        for each in (here, there):
            path = f"{env.platform.url}/phone/{each.account}/messages"
            message = {"from": "+79995550001", "text": f"{tag} to {each.account}"}
            env.http.post(path, json=message).raise_for_status()
        wait_until(lambda: count_rows(env, f"{tag} to %") >= 2, "the customers' messages", 60)
        shards.wait_until_drained(120)
        audit = shards.collect_audit(tag, callers.accepted)
        print_progress(f"drained: {audit.states}; answers {dict(callers.answers)}")
        assert_guarantees(audit, callers.accepted)
        assert audit.states == {"sent": len(callers.accepted)}
        assert {shards.find_shard(each.organization_id) for each in env.integrations} == {"a", "b"}
        for each in (here, there):
            assert count_rows(env, f"{tag} to {each.account}") == 1
        assert_apart(shards, here.organization_id, there.organization_id)


def assert_apart(shards: TwoShards, here: UUID, there: UUID) -> None:
    """While shard b is away, messages of shard a go out; then messages of both."""
    env = shards.env
    body = {"to": "+79995550002", "text": f"apart-{time.time_ns()}"}
    shards.server.kill()
    with env.caller(here) as one, env.caller(there) as other:
        assert other.post("/v1/messages", json=body).status_code == 503
        answer = one.post("/v1/messages", json=body)
        assert answer.status_code == 202
        location = answer.headers["Location"]
        wait_until(lambda: one.get(location).json()["status"] == "read", "the acks of a message")
        health = env.http.get(f"{env.url}/health/pipeline").json()
        assert "shard b: Redis does not answer" in health["detail"]
        shards.server.start()
        wait_until(
            lambda: other.post("/v1/messages", json=body).status_code == 202,
            "the other shard to accept messages",
        )
    shards.wait_until_drained(120)


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_an_organization_moves_under_load_though_its_mover_is_killed(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress, tmp_path: Path
) -> None:
    """Killed in the middle and started again, there and back: no loss, no doubling, in order."""
    tag = f"move-{time.time_ns()}"
    moving = env.integrations[0].organization_id
    with open_shards(env, tmp_path / "b") as shards:
        shards.place(dict.fromkeys((each.organization_id for each in env.integrations), HOME))
        start_fleet(short_timeouts(**shards.settings(OTHER)), WORKERS)
        start_fleet(short_timeouts(**shards.settings(HOME)), {**WORKERS, "web": 1})
        env.fail(latency_s=0.2)
        callers = Callers(env, tag, make_conversations(env, 6, env.integrations[:3]))
        with sending(callers):
            wait_until(lambda: len(callers.accepted) > 40, "the first messages", 60)
            for after_s, to in ((3.0, OTHER), (4.5, HOME), (6.0, OTHER)):
                kill_mover(shards, moving, to, after_s)
                print_progress(f"killed after {after_s} s; it is on {shards.find_shard(moving)}")
                wait_until(lambda: not env.client.exists(keys.SHARD_MOVE), "the lock to end", 20)
                print_progress(run_mover(shards, moving, to).strip().replace("\n", "; "))
                assert shards.find_shard(moving) == to
                write_as_customer(env, f"{tag} to {to} after {after_s}")
        wait_until(lambda: count_rows(env, f"{tag} to %") >= 3, "the customer's messages", 60)
        shards.wait_until_drained(150)
        audit = shards.collect_audit(tag, callers.accepted)
        answers = dict(callers.answers)
        print_progress(f"{len(callers.accepted)} messages: {audit.states}; answers {answers}")
        assert_guarantees(audit, callers.accepted)
        assert audit.states == {"sent": len(callers.accepted)}
        assert count_rows(env, f"{tag} to %") == 3


def count_rows(env: FaultEnvironment, text: str) -> int:
    """Return how many messages of customers have a text (an SQL pattern) in their row."""
    query = "select count(*) from chat_messages where not is_outgoing and message_text like %s"
    return int(env.rows(query, text)[0][0])


def write_as_customer(env: FaultEnvironment, text: str) -> None:
    path = f"{env.platform.url}/phone/{env.integrations[0].account}/messages"
    env.http.post(path, json={"from": "+79995550001", "text": text}).raise_for_status()


def start_mover(shards: TwoShards, organization_id: UUID, to: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "workers.cli.app", "shards", "move", str(organization_id), to]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **shards.env.environment, **short_timeouts(**shards.settings(HOME))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_mover(shards: TwoShards, organization_id: UUID, to: str, after_s: float) -> None:
    """Kill it that long after its first step, unless it ends before."""
    with start_mover(shards, organization_id, to) as mover:
        assert mover.stdout
        mover.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            mover.wait(after_s)
        mover.kill()


def run_mover(shards: TwoShards, organization_id: UUID, to: str) -> str:
    """Move it, again when the machine was too slow; return what the last command printed."""
    for _ in range(4):
        with start_mover(shards, organization_id, to) as mover:
            said, _ = mover.communicate(timeout=150)
        if mover.returncode == 0:
            return said
    raise AssertionError(said)

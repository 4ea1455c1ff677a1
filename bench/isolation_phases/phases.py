"""The phases: each lets an organization do its worst in its own way while the block runs.

A phase yields a function that ends its load and describes what the load achieved.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg

from bench.isolation_phases.load import VARIABLE, Load
from sandbox.processes import Process, Program
from shared.redis import keys
from tests.faults.conftest import connect_integration
from tests.faults.environment import ConnectedIntegration, FaultEnvironment
from tests.fixtures.waiting import wait_until

CAMPAIGN_WITHIN_S = 300.0
SLOW_ANSWER_S = 15.0
USUAL_ANSWER_S = 0.5
Describe = Callable[[], str]


@dataclass(frozen=True)
class Sizes:
    """How many events an attacker brings."""

    lanes: int = 100_000
    campaign: int = 3_000
    slow_campaign: int = 200
    outcomes: int = 400
    long_texts: int = 200


@dataclass(frozen=True)
class Attack:
    """What a phase works with: the environment, and two organizations that it may use."""

    env: FaultEnvironment
    attacker: ConnectedIntegration
    second: ConnectedIntegration
    sizes: Sizes

    def start(
        self, work: str, sender: ConnectedIntegration | None = None, **fields: Any
    ) -> Process:
        """Start a function of `load` in a process of its own."""
        integration = sender or self.attacker
        organization_id = integration.organization_id
        address = urlsplit(self.env.url)
        load = Load(
            work=work,
            redis_url=self.env.redis.url,
            host=str(address.hostname),
            port=int(address.port or 0),
            key=self.env.service_key(organization_id),
            organization_id=organization_id,
            integration_id=integration.integration_id,
            **fields,
        )
        log = self.env.logs / f"{work}-{time.time_ns()}.log"
        command = (sys.executable, "-m", "bench.isolation_phases.load")
        environment = {**os.environ, VARIABLE: load.model_dump_json()}
        return Process(Program(f"load {work}", command, log, environment=environment))

    def append_campaign(
        self, count: int, sender: ConnectedIntegration | None = None, text: str = "Campaign"
    ) -> str:
        """Append messages to `count` recipients and return the counts of the answers."""
        process = self.start("append_campaign", sender, count=count, text=text)
        wait_until(lambda: not process.alive, "the campaign", CAMPAIGN_WITHIN_S)
        return read_counts(process)

    def count_rows(self, organization_id: UUID, text: str) -> int:
        query = """
            select count(*) from public.chat_messages
            where organization_id = %s and message_text = %s and message_status <> 'queued'
        """
        return int(self.env.rows(query, organization_id, text)[0][0])


def read_counts(process: Process) -> str:
    """Return the counts that a load printed at its end."""
    lines = process.program.log.read_text().splitlines()
    counts: dict[str, int] = json.loads(lines[-1]) if lines else {}
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))


@contextmanager
def running(attack: Attack, work: str, **fields: Any) -> Iterator[Describe]:
    process = attack.start(work, **fields)

    def describe() -> str:
        process.stop()
        return read_counts(process)

    try:
        yield describe
    finally:
        process.kill()


@contextmanager
def alone(attack: Attack) -> Iterator[Describe]:
    """Do nothing: the figures to compare with."""
    del attack
    yield lambda: "no load"


@contextmanager
def lanes(attack: Attack) -> Iterator[Describe]:
    """Let 100,000 conversations wait for a platform that answers after half a second."""
    env, size = attack.env, attack.sizes.lanes
    env.fail(slow_accounts={attack.attacker.account: USUAL_ANSWER_S})
    attack.append_campaign(size)
    backlog = env.client.xlen(keys.OUTBOX)
    yield lambda: f"{count_waiting(attack)} wait; outcomes at the begin: {backlog}"


def count_waiting(attack: Attack) -> int:
    tenant = str(attack.attacker.organization_id)
    return int(attack.env.client.hget(keys.waiting("send"), tenant) or 0)


@contextmanager
def errors(attack: Attack) -> Iterator[Describe]:
    """Let a campaign meet an account that answers every message with 500."""
    attack.env.fail(failing_accounts=[attack.attacker.account])
    attack.append_campaign(attack.sizes.campaign)
    yield lambda: f"{count_waiting(attack)} wait"


@contextmanager
def slow(attack: Attack) -> Iterator[Describe]:
    """Let campaigns of two organizations meet accounts that answer after 15 s."""
    senders = (attack.attacker, attack.second)
    attack.env.fail(slow_accounts={sender.account: SLOW_ANSWER_S for sender in senders})
    for sender in senders:
        attack.append_campaign(attack.sizes.slow_campaign, sender)
    in_flight: Any = attack.env.client.hvals(keys.in_flight("send"))
    counts = ", ".join(sorted(count.decode() for count in in_flight))
    yield lambda: f"in flight at the begin: {counts}"


@contextmanager
def locks(attack: Attack) -> Iterator[Describe]:
    """Hold a transaction that has updated the organization's clients, with messages to them."""
    env, size, organization_id = attack.env, attack.sizes.outcomes, attack.attacker.organization_id
    known = f"known {time.time_ns()}"
    attack.append_campaign(size, text=known)
    wait_until(lambda: attack.count_rows(organization_id, known) == size, "their rows", 60)
    with psycopg.connect(env.supabase.database_url) as connection:
        locked = connection.execute(
            "update public.clients set updated_at = now() where organization_id = %s",
            (organization_id,),
        ).rowcount
        assert locked >= size, f"{locked} clients are locked"
        attack.append_campaign(size)
        yield lambda: f"{locked} clients locked, {env.client.xlen(keys.OUTBOX)} outcomes wait"
        connection.rollback()


@contextmanager
def rejects(attack: Attack) -> Iterator[Describe]:
    """Let a trigger of the CRM reject every message of the organization."""
    env, organization_id = attack.env, attack.attacker.organization_id
    create = f"""
        create function public.reject_message() returns trigger language plpgsql as $$
        begin raise exception 'the plan of this organization has ended'; end $$;
        create trigger reject_message before insert or update on public.chat_messages
        for each row when (new.organization_id = '{organization_id}')
        execute function public.reject_message()
    """
    execute(env, create)
    try:
        attack.append_campaign(attack.sizes.outcomes)
        yield lambda: f"{env.client.xlen(keys.OUTBOX)} outcomes wait"
    finally:
        execute(env, "drop function public.reject_message() cascade")


@contextmanager
def deleted(attack: Attack) -> Iterator[Describe]:
    """Delete an organization with waiting messages."""
    env = attack.env
    sender = connect_integration(env)
    env.fail(slow_accounts={sender.account: USUAL_ANSWER_S})
    attack.append_campaign(attack.sizes.outcomes, sender)
    execute(env, f"delete from public.organizations where id = '{sender.organization_id}'")  # noqa: S608
    yield lambda: f"{env.client.xlen(keys.OUTBOX)} outcomes wait"


def execute(env: FaultEnvironment, statements: str) -> None:
    with psycopg.connect(env.supabase.database_url) as connection:
        connection.execute(statements.encode())


def texts(attack: Attack) -> AbstractContextManager[Describe]:
    """Send the longest texts (300 KB in Redis) over HTTP, and 200 of them straight into Redis."""
    attack.env.fail(slow_accounts={attack.attacker.account: USUAL_ANSWER_S})
    return running(attack, "send_long_texts", count=attack.sizes.long_texts)


def streams(attack: Attack) -> AbstractContextManager[Describe]:
    """Hold 500 event streams and change what they show every second."""
    return running(attack, "open_streams")


def bodies(attack: Attack) -> AbstractContextManager[Describe]:
    """Send bodies of 20 MB without credentials, three at a time."""
    return running(attack, "send_bodies")


PHASES: Mapping[str, Callable[[Attack], AbstractContextManager[Describe]]] = {
    phase.__name__: phase
    for phase in (alone, lanes, errors, slow, locks, rejects, deleted, texts, streams, bodies)
}

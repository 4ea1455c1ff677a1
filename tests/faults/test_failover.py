"""Redis fails over while messages are sent: by hand, by sentinels, and again and again.

`FAILOVERS_S=120 make test-faults` fails over for longer.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.redis import connect
from tests.faults.audit import assert_guarantees, collect_audit, wait_until_drained
from tests.faults.callers import Callers, make_conversations
from tests.faults.conftest import PrintProgress, StartFleet
from tests.faults.environment import FaultEnvironment, short_timeouts
from tests.fixtures.replicated_redis import ReplicatedRedis
from tests.fixtures.sentinels import SentinelRedis
from tests.fixtures.waiting import wait_until

WORKS_WITHIN_S = 10.0
ELECTED_WITHIN_S = 60.0
"""A sentinel that was paused for 2 s, as on a busy machine, elects nobody for the next 30 s."""
ADDRESS_LAGS_S = 2.0
"""How long the address leads to the demoted primary, as a DNS name or a virtual address may."""
FAILOVERS_S = float(os.environ.get("FAILOVERS_S", "45"))


@pytest.fixture
def servers(open_directory: Path, request: pytest.FixtureRequest) -> Iterator[ReplicatedRedis]:
    with ReplicatedRedis(open_directory / request.node.name) as servers:
        yield servers


@contextmanager
def audit_at(env: FaultEnvironment, url: str) -> Iterator[None]:
    """Have the audit read another Redis than the environment's."""
    usual = env.client
    with connect(url) as env.client:
        yield
    env.client = usual


def send_probe(env: FaultEnvironment, text: str, within_s: float) -> float:
    """Send one message until it is accepted and at the platform; return the seconds it took."""
    began = time.monotonic()
    conversation = make_conversations(env, 1)[0]
    body = {
        "to": "+79995550000",
        "text": text,
        "integration_id": str(conversation.integration.integration_id),
    }
    with env.caller(conversation.integration.organization_id) as crm:

        def accepted() -> bool:
            answer = crm.post("/v1/messages", json=body, headers={"Idempotency-Key": text})
            return answer.status_code == 202

        def arrived() -> bool:
            return any(message["text"] == text for message in env.messages())

        wait_until(accepted, "a message to be accepted", within_s=within_s, poll_s=0.2)
        wait_until(arrived, "it to be sent", within_s=within_s)
    return time.monotonic() - began


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_a_failover_behind_a_fixed_address(
    env: FaultEnvironment,
    start_fleet: StartFleet,
    servers: ReplicatedRedis,
    print_progress: PrintProgress,
) -> None:
    """The old primary keeps its connections. All works again soon; nothing accepted is lost."""
    tag = f"address-{time.time_ns()}"
    with audit_at(env, servers.url):
        start_fleet(short_timeouts(REDIS_URL=servers.url))
        callers = Callers(env, tag, make_conversations(env, 10))
        callers.send(1)
        sending = threading.Thread(target=callers.send, args=(6,), kwargs={"first": 1, "per_s": 40})
        sending.start()
        time.sleep(2)
        servers.hand_over()
        time.sleep(ADDRESS_LAGS_S)
        red = env.http.get(f"{env.url}/ready")
        servers.switch_address()
        took_s = send_probe(env, f"probe-{tag}", WORKS_WITHIN_S)
        green = env.http.get(f"{env.url}/ready")
        print_progress(f"/ready was {red.status_code}: {red.text}; works again in {took_s:.1f} s")
        sending.join()
        wait_until_drained(env, 60)
        accepted = callers.accepted
        audit = collect_audit(env, tag, accepted)
        print_progress(f"{len(accepted)} accepted, {dict(callers.answers)}: {audit.states}")
        assert_guarantees(audit, accepted)
        assert [red.status_code, green.status_code] == [503, 200]
        assert "Redis is a replica" in red.json()["detail"]
        assert took_s < WORKS_WITHIN_S


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_sentinels_choose_a_new_primary(
    env: FaultEnvironment,
    start_fleet: StartFleet,
    open_directory: Path,
    print_progress: PrintProgress,
) -> None:
    """The primary is killed; what a replica had confirmed goes on at the new one."""
    tag = f"sentinel-{time.time_ns()}"
    servers = SentinelRedis(open_directory / "sentinel")
    with servers.run(), audit_at(env, servers.url):
        start_fleet(short_timeouts(REDIS_URL=servers.url, WPP_REDIS_REPLICAS="1"))
        callers = Callers(env, tag, make_conversations(env, 10))
        callers.send(1)
        sending = threading.Thread(target=callers.send, args=(6,), kwargs={"first": 1, "per_s": 40})
        sending.start()
        time.sleep(2)
        servers.servers[0].kill()
        took_s = send_probe(env, f"probe-{tag}", ELECTED_WITHIN_S)
        print_progress(f"works again {took_s:.1f} s after the kill")
        sending.join()
        wait_until_drained(env, 60)
        accepted = callers.accepted
        audit = collect_audit(env, tag, accepted)
        print_progress(f"{len(accepted)} accepted, {dict(callers.answers)}: {audit.states}")
        assert servers.primary() is not servers.servers[0]
        assert_guarantees(audit, accepted)


class Failovers:
    """Fails over to a replica that lacks the last writes, with the old primary dead or alive."""

    def __init__(self, servers: ReplicatedRedis) -> None:
        self.count = 0
        self._servers = servers
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @contextmanager
    def happening(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def _run(self) -> None:
        end = time.monotonic() + FAILOVERS_S
        while time.monotonic() < end and not self._over.wait(3):
            self._fail_over(alive=bool(self.count % 2))
            self.count += 1

    def _fail_over(self, *, alive: bool) -> None:
        servers = self._servers
        servers.cut_replication()
        time.sleep(0.5)  # what is written now, no replica has
        if not alive:
            servers.primary.kill()
        servers.promote()
        time.sleep(1)
        if not alive:
            servers.replica.start()
        servers.replicate()  # also demotes an old primary that is alive


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_failovers_to_a_replica_lose_nothing_and_double_nothing(
    env: FaultEnvironment,
    start_fleet: StartFleet,
    servers: ReplicatedRedis,
    print_progress: PrintProgress,
) -> None:
    """With `WPP_REDIS_REPLICAS=1`, whatever the replica lacks when it is promoted."""
    tag = f"failovers-{time.time_ns()}"
    with audit_at(env, servers.url):
        replicas = os.environ.get("WPP_REDIS_REPLICAS", "1")
        start_fleet(short_timeouts(REDIS_URL=servers.url, WPP_REDIS_REPLICAS=replicas))
        env.fail(latency_s=0.05, slow={"rate": 0.05, "seconds": 1})
        callers = Callers(env, tag, make_conversations(env, 12), callers=16)
        failovers = Failovers(servers)
        with failovers.happening():
            accepted = callers.send(12, per_s=40)
        print_progress(f"{failovers.count} failovers; the callers got {dict(callers.answers)}")
        env.fail()
        wait_until_drained(env, 100)
        audit = collect_audit(env, tag, accepted)
        print_progress(f"{len(accepted)} accepted: {audit.states}; rows {audit.statuses}")
        assert failovers.count >= 4
        assert_guarantees(audit, accepted)

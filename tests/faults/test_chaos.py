"""Everything goes wrong at once, for a minute: nothing is lost, nothing is sent twice, each conversation is in order.

`CHAOS_SEED=7 make test-faults` runs one given seed, `CHAOS_SEED=1,2,3` several.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.audit import assert_guarantees, collect_audit, wait_until_drained
from tests.faults.callers import Callers, make_conversations
from tests.faults.conftest import PrintProgress, StartFleet
from tests.faults.environment import FaultEnvironment, short_timeouts
from tests.fixtures.fleet import Fleet
from tests.fixtures.tcp_proxy import TcpProxy

GIVEN = [int(seed) for seed in os.environ.get("CHAOS_SEED", "").split(",") if seed]
SEEDS = GIVEN or random.sample(range(1_000_000), 2)
OF_EACH, MESSAGES, PER_S = 26, 10, 60.0
"""26 conversations of each of 8 organizations, 10 messages each: 2,080 in some 50 s, with the waits for the door."""
VICTIMS = ("send", "send", "send", "webhook", "record", "clock", "web")
PLATFORM = {
    "latency_s": 0.05,
    "rate_429": 0.06,
    "drop_before": 0.03,
    "drop_after": 0.04,
    "slow": {"rate": 0.02, "seconds": 3},  # the deadline is 2 s
}
REIGN_S = 60.0
"""How long things go wrong at most: on a slow machine the rest is accepted in peace."""
DRAIN_S = 100.0


COMMANDS = (b"append", b"claim", b"conclude", b"sweep", b"fetch", b"tick", b"XACK")
"""What the processes say to Redis: steps of the lanes, of the broker and of the outbox."""


class Chaos:
    """Kills a process every few seconds, pauses one beyond its lease, kills Redis every ten, loses its replies.

    What happens when is up to `seed` and to the machine.
    """

    def __init__(self, fleet: Fleet, env: FaultEnvironment, wire: TcpProxy, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._fleet = fleet
        self._town = env
        self._wire = wire
        self._dice = random.Random(seed)  # noqa: S311
        self._over = threading.Event()

    @contextmanager
    def reigning(self) -> Iterator[None]:
        ways = (self._kill, self._kill_redis, self._pause, self._lose_replies)
        threads = [threading.Thread(target=work, daemon=True) for work in ways]
        end = threading.Timer(REIGN_S, self._over.set)
        for thread in (*threads, end):
            thread.start()
        try:
            yield
        finally:
            end.cancel()
            self._over.set()
            for thread in threads:
                thread.join()

    def _kill(self) -> None:
        while not self._over.wait(self._dice.uniform(2.5, 4.5)):
            victim = self._dice.choice(self._fleet.named(self._dice.choice(VICTIMS)))
            if not victim.alive:
                continue
            if self._dice.random() < 0.3 and victim.kill_child():
                self.done[f"a child of {victim.name}"] += 1
            else:
                victim.kill()
                self.done[victim.name] += 1

    def _kill_redis(self) -> None:
        dice = random.Random(self._dice.random())  # noqa: S311 - its own: threads take turns as they like
        while not self._over.wait(dice.uniform(7, 11)):
            self._town.redis.kill()
            time.sleep(dice.uniform(0.2, 2))
            self._town.redis.start()
            self.done["Redis"] += 1

    def _pause(self) -> None:
        """Stop a worker for longer than its lease, so that it comes back with late news."""
        dice = random.Random(self._dice.random())  # noqa: S311
        while not self._over.wait(dice.uniform(9, 14)):
            victim = dice.choice(self._fleet.named("send"))
            victim.signal(signal.SIGSTOP)
            time.sleep(5)
            victim.signal(signal.SIGCONT)
            self.done["paused"] += 1

    def _lose_replies(self) -> None:
        """Let a command through to Redis and cut the connection, or leave it silent, before the reply."""
        dice = random.Random(self._dice.random())  # noqa: S311
        while not self._over.wait(dice.uniform(0.1, 0.5)):
            lose = self._wire.swallow_after if dice.random() < 0.1 else self._wire.cut_after
            lose(dice.choice(COMMANDS))
        self.done["replies lost"] = self._wire.hits


@pytest.fixture
def wire(env: FaultEnvironment) -> Iterator[TcpProxy]:
    """Return the wire between the processes and Redis."""
    with TcpProxy(env.redis.port) as proxy:
        yield proxy


@pytest.mark.faults
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", SEEDS)
def test_chaos_loses_nothing_and_sends_nothing_twice(
    env: FaultEnvironment,
    wire: TcpProxy,
    start_fleet: StartFleet,
    print_progress: PrintProgress,
    seed: int,
) -> None:
    """Every accepted send is settled once, whatever was killed; rows equal the ledger; nothing is left anywhere."""
    print_progress(f"seed {seed}; the processes write to {env.logs}")
    tag = f"chaos-{seed}-{time.time_ns()}"
    fleet = start_fleet(short_timeouts(REDIS_URL=wire.url))
    env.fail(seed=seed, **PLATFORM)
    env.gateway.rate, env.gateway.dice = 0.1, random.Random(seed)  # noqa: S311
    callers = Callers(env, tag, make_conversations(env, OF_EACH), callers=16)
    chaos = Chaos(fleet, env, wire, seed)
    print_progress(
        f"all processes run; sending {OF_EACH * len(env.integrations) * MESSAGES} messages"
    )
    with chaos.reigning():
        accepted = callers.send(MESSAGES, per_s=PER_S)
    print_progress(f"accepted {len(accepted)}; the callers were told {dict(callers.answers)}")
    print_progress(
        f"killed {dict(chaos.done)}; Supabase failed {env.gateway.failed}; the platform {env.ledger()['faults']}"
    )
    env.fail()
    env.gateway.rate = 0
    healed = time.monotonic()
    wait_until_drained(env, DRAIN_S)
    books = collect_audit(env, tag, accepted)
    print_progress(
        f"drained {time.monotonic() - healed:.1f} s later: {books.states}; rows {books.statuses}"
    )
    assert len(accepted) >= 2000
    assert chaos.done["Redis"] >= 3
    assert_guarantees(books, accepted)

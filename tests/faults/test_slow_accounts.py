"""Accounts that answer slowly leave threads to the rest; alone, an account uses the fleet."""

import time
from typing import Any

import pytest

from shared.redis import keys
from tests.faults.conftest import PrintProgress, StartFleet
from tests.faults.environment import FaultEnvironment
from tests.faults.test_one_account import CODES, append_campaign, delays_s, send_codes
from tests.fixtures.waiting import wait_until

FLEET = {"web": 1, "webhook": 1, "record": 1, "clock": 1}
SLOW_S = 15.0


def count_in_flight(env: FaultEnvironment) -> int:
    counts: Any = env.client.hvals(keys.in_flight("send"))
    return sum(map(int, counts))


def wait_for_in_flight(env: FaultEnvironment, expected: int) -> int:
    """Return the number in flight once it is as expected: it changes when calls end."""
    found: list[int] = []

    def look() -> bool:
        found.append(count_in_flight(env))
        return found[-1] == expected

    wait_until(look, f"{expected} in flight")
    return found[-1]


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_two_slow_accounts_delay_no_third(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """Each answers after 15 s, with a campaign waiting: a code of a third leaves within 1 s."""
    first, second, other = env.integrations[:3]
    start_fleet(counts=FLEET | {"send": 1})
    env.fail(slow_accounts={first.account: SLOW_S, second.account: SLOW_S})
    for slow in (first, second):
        append_campaign(env, slow, 300)
        wait_until(lambda: count_in_flight(env) > 20, "the first campaign to have its threads")
    delays = delays_s(env, send_codes(env, other, f"codes {time.time_ns()}"))
    print_progress(
        f"{count_in_flight(env)} in flight; "
        f"delays: median {delays[CODES // 2]:.3f}, last {delays[-1]:.3f} s"
    )
    assert delays[-1] <= 1.0


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_alone_an_account_uses_three_processes_as_one(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """In flight grows with the processes: 25 messages on 1 x 32 threads, 76 on 3 x 32."""
    sender = env.integrations[0]
    env.fail(slow_accounts={sender.account: SLOW_S})
    append_campaign(env, sender, 300)
    counts = []
    for started, expected in ({"clock": 1, "send": 1}, 25), ({"send": 2}, 76):
        start_fleet(counts=started)
        counts.append(wait_for_in_flight(env, expected))
    print_progress(f"in flight: {counts}")
    assert counts[1] >= 2.7 * counts[0]

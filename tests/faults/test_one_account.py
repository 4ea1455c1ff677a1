"""An account that fails, or is over its limit, delays no other organization's messages."""

import time
from collections import Counter
from typing import Any
from uuid import UUID

import httpx
import pytest

from shared import routing
from shared.events import Message
from shared.lanes.client import Lanes
from shared.redis import keys
from shared.settings import EngineSettings
from tests.faults.conftest import PrintProgress, StartFleet
from tests.faults.environment import ConnectedIntegration, FaultEnvironment, short_timeouts
from tests.fixtures.waiting import wait_until

FLEET = {"web": 1, "send": 1, "webhook": 1, "record": 1, "clock": 1}
CODES = 30
LIMITED_S = 70.0


def append_campaign(env: FaultEnvironment, sender: ConnectedIntegration, count: int) -> None:
    """Put messages to `count` recipients into the lanes, as the ingress does."""
    lanes = Lanes(env.client, EngineSettings())
    for number in range(count):
        message = Message(to=f"+7999{number:07}", text="Campaign")
        lanes.append(routing.route_send(sender.organization_id, sender.integration_id, message))


def send_codes(env: FaultEnvironment, sender: ConnectedIntegration, tag: str) -> dict[str, float]:
    """Send a code a second; return when each was accepted."""
    accepted: dict[str, float] = {}
    with env.caller(sender.organization_id) as crm:
        begun = time.monotonic()
        for number in range(CODES):
            text = f"{tag} {number}"
            body = {"to": f"+7998{number:07}", "text": text}
            answer = crm.post("/v1/messages", json=body)
            assert answer.status_code == httpx.codes.ACCEPTED, answer.text
            accepted[text] = time.time()
            time.sleep(max(0.0, begun + number + 1 - time.monotonic()))
    return accepted


def delays_s(env: FaultEnvironment, accepted: dict[str, float]) -> list[float]:
    """Return the seconds from acceptance to the platform, sorted."""

    def arrived() -> dict[str, float] | None:
        at = {message["text"]: message["at"] for message in env.messages()}
        return at if accepted.keys() <= at.keys() else None

    at = wait_until(arrived, "all codes at the platform", within_s=60)
    return sorted(at[text] - accepted[text] for text in accepted)


def count_states(env: FaultEnvironment, organization_id: UUID) -> dict[str, int]:
    """Return how many records of an organization's messages are in each state."""
    records: list[Any] = [
        env.client.hmget(key, "tenant", "state")
        for key in env.client.scan_iter(keys.event("*"), count=1000)
    ]
    tenant = str(organization_id).encode()
    return dict(Counter(state.decode() for found, state in records if found == tenant))


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_one_failing_account_delays_no_other_organization(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """A campaign of 3,000 fails with 500; the codes of another number leave within a second.

    Messages of the failing account wait: few become unknown.
    """
    failing, other = env.integrations[:2]
    start_fleet(short_timeouts(), FLEET)
    env.fail(failing_accounts=[failing.account])
    append_campaign(env, failing, 3000)
    delays = delays_s(env, send_codes(env, other, f"codes {time.time_ns()}"))
    states = count_states(env, failing.organization_id)
    print_progress(f"delays: median {delays[CODES // 2]:.3f}, last {delays[-1]:.3f} s; {states}")
    assert delays[-1] <= 1.0
    assert states["unknown"] <= 60
    assert not env.client.exists(keys.gate(routing.PLATFORM_GATE))


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_a_limited_account_is_asked_as_often_as_it_allows(
    env: FaultEnvironment, start_fleet: StartFleet, print_progress: PrintProgress
) -> None:
    """5 messages a second are taken: of a campaign of 1,500, few calls are refused meanwhile."""
    limited, other = env.integrations[:2]
    start_fleet(short_timeouts(), FLEET)
    env.fail(account_limits={limited.account: 5})
    begun = time.monotonic()
    append_campaign(env, limited, 1500)
    delays = delays_s(env, send_codes(env, other, f"codes {time.time_ns()}"))
    time.sleep(max(0.0, begun + LIMITED_S - time.monotonic()))
    refused = env.ledger()["faults"][limited.account]["429"]
    taken = sum(message["session"] == limited.account for message in env.messages())
    print_progress(
        f"in {LIMITED_S:.0f} s {taken} taken, {refused} refused ({refused / taken:.2f} each); "
        f"delays of the other number: last {delays[-1]:.3f} s"
    )
    assert refused <= 0.2 * taken
    assert taken >= 2 * LIMITED_S
    assert delays[-1] <= 1.0

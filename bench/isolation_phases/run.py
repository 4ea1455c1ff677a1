"""One phase: the processes of the pipeline, the attack, and the codes meanwhile."""

import os
import time

from bench.isolation_phases.codes import send_codes
from bench.isolation_phases.figures import PhaseResult
from bench.isolation_phases.phases import PHASES, Attack, Sizes
from sandbox.processes import Progress
from tests.faults.conftest import wait_until_ready
from tests.faults.environment import FaultEnvironment
from tests.fixtures.fleet import Fleet
from tests.fixtures.waiting import wait_until

PROCESSES = {"web": 1, "send": 1, "provision": 1, "webhook": 1, "record": 1, "clock": 1}
WARM_UP_CODES = 2
LOAD_SETTLES_S = 1.0


def measure_phase(
    env: FaultEnvironment, name: str, codes: int, report: Progress, sizes: Sizes | None = None
) -> PhaseResult:
    """Return the delays of `codes` codes, one a second, during a phase.

    The environment has three connected integrations: of the calm organization, which sends the
    codes, and of two that attack.
    """
    env.reset()
    calm, attacker, second = env.integrations[:3]
    with Fleet(env.environment, env.logs / name, PROCESSES):
        wait_until_ready(env)
        warm_up(env)
        report(f"{name}: the attack begins")
        began = time.monotonic()
        with PHASES[name](Attack(env, attacker, second, sizes or Sizes())) as describe:
            time.sleep(LOAD_SETTLES_S)
            report(f"{name}: prepared in {time.monotonic() - began:.0f} s, sending {codes} codes")
            sent = send_codes(env, calm, codes)
            load = os.getloadavg()[0]
            attack = describe()
    refusals = f"; refused codes: {', '.join(sent.refusals)}" if sent.refusals else ""
    return PhaseResult(
        name,
        sent.delays(sent.answered),
        sent.delays(sent.at_platform),
        sent.delays(sent.rows),
        attack + refusals,
        load,
    )


def warm_up(env: FaultEnvironment) -> None:
    """Send codes until they arrive at once: routes and tokens are known then."""
    calm = env.integrations[0]
    wait_until(
        lambda: send_codes(env, calm, WARM_UP_CODES).prompt,
        "codes to arrive without a load",
        within_s=60,
    )

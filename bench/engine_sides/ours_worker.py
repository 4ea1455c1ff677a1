"""Our engine with the bench's handler: `dramatiq bench.engine_sides.ours_worker --queues webhook`."""

from functools import cache

import dramatiq

from bench.engine_sides.handling import handle
from shared.events import WebhookEvent
from shared.lanes.client import Claim, ClaimResult, Lanes, Settled
from shared.lanes.wakeups import wake
from shared.settings import EngineSettings, load_settings
from workers.broker import broker, stopping
from workers.runner import STAY_S, drain


@dramatiq.actor(broker=broker, queue_name="webhook")
def drain_webhook() -> None:
    if drain(_lanes(), "webhook", _handle, _give_up, stopping, STAY_S):
        wake(broker.client, "webhook")


@cache
def _lanes() -> Lanes:
    return Lanes(broker.client, load_settings(EngineSettings))


def _handle(claim: Claim) -> ClaimResult:
    handle(WebhookEvent.model_validate_json(claim.body).payload)
    return Settled("done")


def _give_up(claim: Claim, reason: str, detail: str) -> ClaimResult:
    msg = f"{claim.id}: {reason}: {detail}"
    raise AssertionError(msg)

"""Clicks that share an event, and failed events that are retried."""

from datetime import datetime
from uuid import uuid4

import redis

from shared import routing
from shared.database import Database, DeadLetterQuery
from shared.events import ProvisionEvent
from shared.lanes.client import Lanes
from shared.lanes.types import Append, ClaimSequence, Settled
from shared.settings import EngineSettings
from tests.workers.ingress.tenants import Tenant
from workers.dead_letters import Replayer, build_dead_letter
from workers.ingress.integrations import service


class FailingLanes(Lanes):
    """Lanes in which a retried event fails at once and is recorded as a dead letter."""

    def __init__(self, client: "redis.Redis", database: Database) -> None:
        super().__init__(client, EngineSettings())
        self._database = database

    def fail_next(self) -> datetime:
        claim = self.claim("provision", ClaimSequence())
        assert claim
        letter = build_dead_letter(
            ProvisionEvent.model_validate_json(claim.body), claim, "refused", "no"
        )
        assert self.conclude(claim, Settled("failed"))[0]
        self._database.outcomes.apply([letter.model_dump(mode="json", exclude_none=True)])
        return letter.at

    def replay(self, item: Append) -> bool:
        put_back = super().replay(item)
        self.fail_next()
        return put_back


def dead_letter_times(tenant: Tenant) -> list[datetime]:
    return [
        letter.at
        for letter in tenant.database.dead_letters.find(DeadLetterQuery(organization_id=tenant.id))
    ]


def test_a_second_failure_is_a_visible_dead_letter(
    tenant: Tenant, redis_client: redis.Redis
) -> None:
    """However soon it follows the retry, by a click or by an operator."""
    lanes = FailingLanes(redis_client, tenant.database)
    item = routing.route_provision(
        ProvisionEvent(id=uuid4(), organization_id=tenant.id, integration_id=uuid4())
    )
    lanes.append(item)
    first = lanes.fail_next()
    service.retry_failed(item, lanes, tenant.database)
    (second,) = dead_letter_times(tenant)
    assert second > first
    letters = tenant.database.dead_letters.find(DeadLetterQuery(organization_id=tenant.id))
    Replayer(redis_client, lanes, tenant.database, 1000).replay(letters)
    (third,) = dead_letter_times(tenant)
    assert third > second


def test_clicks_within_30_seconds_share_an_event(tenant: Tenant) -> None:
    """After the event has ended, the next click starts a new event."""
    path = tenant.add_integration("42", "disconnected")
    for _ in range(3):
        assert tenant.post(f"{path}/reconnect").status_code == 202
    first = tenant.settle_next("provision", Settled("done"))
    assert tenant.count_waiting("provision") == 0
    for _ in range(3):
        tenant.post(f"{path}/reconnect")
    assert tenant.settle_next("provision", Settled("done")) != first
    assert tenant.count_waiting("provision") == 0

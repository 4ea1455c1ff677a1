"""Clicks that mean the same, and what has failed and is wanted once more."""

from datetime import datetime
from uuid import uuid4

import redis

from shared import routing
from shared.database import Database, DeadLetterQuery
from shared.events import ProvisionEvent
from shared.lanes.client import Append, Lanes, Settled, Slot
from shared.settings import EngineSettings
from tests.workers.ingress.tenants import Tenant
from workers.dead_letters import Replayer, build_dead_letter
from workers.ingress.integrations import service


class DyingAtOnce(Lanes):
    """Lanes whose events die again as soon as they are put back, and are recorded before anybody does anything else."""

    def __init__(self, client: "redis.Redis", database: Database) -> None:
        super().__init__(client, EngineSettings())
        self._database = database

    def die(self) -> datetime:
        claim = self.claim("provision", Slot())
        assert claim
        letter = build_dead_letter(
            ProvisionEvent.model_validate_json(claim.body), claim, "refused", "no"
        )
        assert self.conclude(claim, Settled("failed"))[0]
        self._database.outcomes.apply([letter.model_dump(mode="json", exclude_none=True)])
        return letter.at

    def replay(self, item: Append) -> bool:
        put_back = super().replay(item)
        self.die()
        return put_back


def deaths(tenant: Tenant) -> list[datetime]:
    return [
        letter.at
        for letter in tenant.database.dead_letters.find(DeadLetterQuery(organization_id=tenant.id))
    ]


def test_a_second_death_is_in_view(tenant: Tenant, redis_client: redis.Redis) -> None:
    """However soon it comes after the event was put back, by a click or by an operator."""
    dying = DyingAtOnce(redis_client, tenant.database)
    item = routing.route_provision(
        ProvisionEvent(id=uuid4(), organization_id=tenant.id, integration_id=uuid4())
    )
    dying.append(item)
    first = dying.die()
    service.retry_failed(item, redis_client, dying, tenant.database)
    (second,) = deaths(tenant)
    assert second > first
    letters = tenant.database.dead_letters.find(DeadLetterQuery(organization_id=tenant.id))
    Replayer(redis_client, dying, tenant.database, 1000).replay(letters)
    (third,) = deaths(tenant)
    assert third > second


def test_clicks_within_half_a_minute_are_one(tenant: Tenant) -> None:
    """One event, whichever path they took; when it is done, the next click is another one."""
    place = tenant.number("42", "disconnected")
    for _ in range(3):
        assert tenant.post(f"{place}/reconnect").status_code == 202
    first = tenant.settle("provision", Settled("done"))
    assert tenant.waiting("provision") == 0
    for _ in range(3):
        tenant.post(f"{place}/reconnect")
    assert tenant.settle("provision", Settled("done")) != first
    assert tenant.waiting("provision") == 0

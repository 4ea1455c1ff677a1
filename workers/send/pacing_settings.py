"""Changes the pacing of an organization, or of a number of it, as the API and `wpp` do."""

from typing import Any
from uuid import UUID

import redis

from shared.database import Database
from shared.errors import NotFoundError
from shared.pacing import PacingChange
from shared.route_cache import RouteCache
from workers.send.paced_numbers import release


def change_pacing(
    organization_id: UUID,
    integration_id: UUID | None,
    change: PacingChange,
    database: Database,
    routes: RouteCache,
    client: "redis.Redis",
) -> PacingChange:
    """Change the settings that `change` sets, None included; return those that are set now.

    Messages that wait get a new turn by the new settings.

    Raises:
        NotFoundError: the organization does not exist, or does not have the number.
        DatabaseError: Supabase did not answer.
        redis.RedisError: Redis did not answer; repeating the change is safe.
    """
    values: dict[str, Any] = change.model_dump(mode="json", exclude_unset=True)
    stored = database.pacing.change(organization_id, integration_id, values)
    if stored is None:
        what = f"integration {integration_id} in this organization"
        msg = f"there is no {what if integration_id else f'organization {organization_id}'}"
        raise NotFoundError(msg)
    if values:
        numbers = routes.load_organization(organization_id)
        release(client, [each.id for each in numbers if integration_id in {None, each.id}])
    return PacingChange.read(stored)

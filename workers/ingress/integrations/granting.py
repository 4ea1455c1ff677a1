"""Granting a wish: its event goes into its lane, once, and its number's state is the answer."""

from uuid import UUID

from fastapi import Response

from shared.events import ProvisionEvent
from workers.ingress import idempotency
from workers.ingress.deps import Doorway
from workers.ingress.integrations import pending as marks
from workers.ingress.integrations import schemas as numbers
from workers.ingress.integrations import service as wishes
from workers.ingress.integrations import waiting
from workers.ingress.integrations.schemas import IntegrationState
from workers.ingress.integrations.service import Wish


async def accepted(
    event: ProvisionEvent, wish: Wish, response: Response, prefer: str | None, here: Doorway
) -> IntegrationState:
    """Grant a wish, and answer with the state of its number: at once, or when there is something to see."""
    integration_id, organization_id = wish.integration_id, event.organization_id
    before = await waiting.expected(integration_id, organization_id, here)
    await _once(event, wish, here)
    response.headers["Location"] = _place(integration_id)
    if wish.again:
        idempotency.say_again(response)
    if seconds := waiting.wait_s(prefer):
        response.headers["Preference-Applied"] = f"wait={seconds}"
        return await waiting.awaited(before, organization_id, seconds, here)
    return await waiting.expected(integration_id, organization_id, here)


async def there(
    wish: Wish, organization_id: UUID, response: Response, here: Doorway
) -> IntegrationState:
    """Answer with a number for which there is nothing to do."""
    response.status_code = 200
    response.headers["Location"] = _place(wish.integration_id)
    if wish.again:
        idempotency.say_again(response)
    return await numbers.one(wish.integration_id, organization_id, here)


async def _once(event: ProvisionEvent, wish: Wish, here: Doorway) -> None:
    """Grant a wish; a click that comes after what it meant is done means it once more, a repeated key does not."""
    if wish.again and await wishes.is_granted(event, here):
        return
    if event.id == event.integration_id:
        await marks.expect(event.integration_id, event.organization_id, here)
    if not await _granted(event, here) and wish.subject:
        following = await wishes.after(wish.subject, event.id, here)
        await _granted(event.model_copy(update={"id": following}), here)


async def _granted(event: ProvisionEvent, here: Doorway) -> bool:
    """Put an event into its lane; False when it has been done already. A watch replaces the one before it."""
    if event.action == "watch":
        await marks.watch(event, here)
    else:
        await marks.begin(event, here)
    return await wishes.grant(event, here)


def _place(integration_id: UUID) -> str:
    return f"{numbers.PATH}/{integration_id}"

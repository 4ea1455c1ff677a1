"""/v1/messages/batch: send up to 1,000 messages with a request."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from workers.ingress.deps import CallerDep, DryRun, IdempotencyKey, StateDep
from workers.ingress.errors import RESPONSES, RETRY_AFTER_S
from workers.ingress.messages.batch_schemas import BatchAnswer, BatchPlan, MessageBatch
from workers.ingress.messages.batches import plan_batch, send_batch

router = APIRouter(prefix="/v1/messages", tags=["messages"], responses=RESPONSES)


@router.post(
    "/batch",
    status_code=202,
    summary="Send up to 1,000 messages",
    operation_id="send_messages",
    response_description="The batch was worked off: each message has a result of its own.",
    response_model=BatchAnswer,
    responses={200: {"model": BatchPlan, "description": "What would happen (`dry_run`)."}},
)
async def send_messages(
    batch: MessageBatch,
    caller: CallerDep,
    response: Response,
    state: StateDep,
    idempotency_key: IdempotencyKey = None,
    *,
    dry_run: DryRun = False,
) -> BatchAnswer | JSONResponse:
    """Accept messages for sending, each by itself, in their order.

    A message that is refused has an `error`, and the rest is accepted. An error of status 503 was
    not confirmed: send the batch again with the same keys, and each message is sent once. Each
    message counts against the quota as a request does. 503 for the whole batch: none of its
    messages was confirmed.
    """
    state.request_limits.take("key", caller.subject, len(batch.items) - 1)
    organization_id = caller.organization_id
    if dry_run:
        plan = await plan_batch(batch.items, organization_id, idempotency_key, state)
        return JSONResponse(plan.model_dump(mode="json"))
    answer = await send_batch(batch.items, organization_id, idempotency_key, state)
    if any(item.error and item.error.status == 503 for item in answer.items):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer

"""Batches: up to 1,000 messages in a request, each accepted or refused by itself.

A batch is worked off in slices, in order: the recipients of a slice are looked up together, its
messages enter their lanes in a few script calls, and concurrent requests come in between. When
Redis does not confirm a slice, the rest is not tried: repeated with the same keys, the batch
continues there.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import redis
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from shared.errors import DatabaseUnavailableError
from shared.events import Message
from shared.lanes.types import Accepted
from workers.ingress.deps import AppState
from workers.ingress.errors import Problem, to_response
from workers.ingress.messages.batch_schemas import (
    BatchAnswer,
    BatchItem,
    BatchMessage,
    BatchPlan,
    PlannedItem,
)
from workers.ingress.messages.plans import plan_messages
from workers.ingress.messages.preparation import Prepared, prepare_messages

SLICE = 100
"""Messages that are prepared together: a few ms of CPU, in which no other request is served."""

OUTAGES = (redis.RedisError, OSError, DatabaseUnavailableError)
"""Errors after which the rest of a batch is not tried."""

AppendReply = Accepted | Exception


async def send_batch(
    batch: Sequence[BatchMessage | ValidationError],
    organization_id: UUID,
    key: str | None,
    state: AppState,
) -> BatchAnswer:
    """Accept the messages of a batch; return what became of each, in order.

    Raises:
        redis.RedisError: Redis has confirmed none of them.
    """
    items: list[BatchItem] = []
    outage: Exception | None = None
    for start in range(0, len(batch), SLICE):
        part = batch[start : start + SLICE]
        if outage is None:
            prepared = await _prepare(part, start, organization_id, key, state)
            results = await _append(prepared, state)
            outage = next((each for each in results if isinstance(each, OUTAGES)), None)
            found = zip(results, prepared, strict=True)
            items += [_read_result(result, each) for result, each in found]
        else:
            items += [_refuse(each, outage) for each in part]
    if outage and not any(item.id for item in items):
        raise outage
    return BatchAnswer.summarize(items)


async def plan_batch(
    batch: Sequence[BatchMessage | ValidationError],
    organization_id: UUID,
    key: str | None,
    state: AppState,
) -> BatchPlan:
    """Return what would become of the messages of a batch, in order; accept nothing."""
    items: list[PlannedItem] = []
    for start in range(0, len(batch), SLICE):
        part = batch[start : start + SLICE]
        prepared = await _prepare(part, start, organization_id, key, state)
        valid = [each for each in prepared if isinstance(each, Prepared)]
        found = iter(await plan_messages(valid, state))
        items += [
            PlannedItem(plan=next(found))
            if isinstance(each, Prepared)
            else PlannedItem(error=_describe(each))
            for each in prepared
        ]
    return BatchPlan(items=items)


async def _prepare(
    part: Sequence[BatchMessage | ValidationError],
    start: int,
    organization_id: UUID,
    key: str | None,
    state: AppState,
) -> list[Prepared | Exception]:
    """Prepare a slice of a batch. An outage is the error of each of its messages."""
    valid: list[tuple[Message, str | None]] = [
        (each.message, each.idempotency_key or (f"{key}\n{place}" if key else None))
        for place, each in enumerate(part, start)
        if isinstance(each, BatchMessage)
    ]
    try:
        prepared = iter(await prepare_messages(valid, organization_id, state))
    except OUTAGES as error:
        prepared = iter([error] * len(valid))
    return [next(prepared) if isinstance(each, BatchMessage) else _invalid(each) for each in part]


async def _append(prepared: Sequence[Prepared | Exception], state: AppState) -> list[AppendReply]:
    """Append what is prepared; return the reply to each, or its error."""
    appends = [each.build_append() for each in prepared if isinstance(each, Prepared)]
    replies = iter(await state.producer.append_each(appends))
    return [next(replies) if isinstance(each, Prepared) else each for each in prepared]


def _read_result(result: AppendReply, prepared: Prepared | Exception) -> BatchItem:
    if isinstance(result, Exception):
        return BatchItem(error=_describe(result))
    return BatchItem(
        id=result.id,
        status="queued" if result.state in {"queued", "claimed", "done"} else result.state,
        integration_id=prepared.integration_id if isinstance(prepared, Prepared) else None,
        replayed=not result.new,
    )


def _refuse(each: BatchMessage | ValidationError, outage: Exception) -> BatchItem:
    error = outage if isinstance(each, BatchMessage) else _invalid(each)
    return BatchItem(error=_describe(error))


def _invalid(error: ValidationError) -> RequestValidationError:
    faults: list[Any] = [
        {**fault, "loc": ("body", *fault["loc"])}
        for fault in error.errors(include_context=False, include_input=False)
    ]
    return RequestValidationError(faults)


def _describe(error: Exception) -> Problem:
    return Problem.model_validate_json(bytes(to_response(error).body))

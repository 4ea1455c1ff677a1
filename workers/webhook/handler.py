"""Webhooks: what the platform told, turned into the outcomes that Supabase is given."""

import json

import structlog

from shared import payload_store, routing, webhooks
from shared.events import WebhookEvent
from shared.lanes.client import Append, Claim, ClaimResult, Settled
from shared.outcomes import LogOutcome, MessageOutcome, Outcome, SessionOutcome
from shared.redis import keys
from shared.webhooks import payload
from shared.webhooks.attachments import Attachment, find_attachment
from shared.webhooks.redact import redact_payload
from workers import gates
from workers.context import WorkerContext
from workers.dead_letters import build_dead_letter
from workers.send import in_doubt

BECAME_PROOF = "proof"
"""What became of an echo that proved a message of ours: no row of its own."""
BECAME_DEAD_LETTER = "dead"
"""What became of an event that was given up, until it is replayed: a word that `wpp_keep_records` knows."""

log = structlog.get_logger()


class PayloadExpiredError(Exception):
    """A part of the event is no longer there."""


def handle_webhook(event: WebhookEvent, claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Turn one event into outcomes; a file that it brings follows by itself, so that nobody waits for it."""
    try:
        event, file, blob = _opened(event, ctx)
    except PayloadExpiredError as error:
        return dead_letter_webhook(event, claim, "text_gone", str(error))
    arrival = webhooks.classify_event(event.payload, event.account, event.accepted_at)
    outcomes = webhooks.build_outcomes(arrival, event)
    if arrival.type == "echo" and arrival.peer:
        outcomes = _without_own(outcomes, arrival.peer, ctx)
    if arrival.type == "unknown":
        log.warning("webhook.unknown_type", event_type=arrival.event_type, account=arrival.account)
        _count(arrival.event_type, ctx)
    if any(
        isinstance(outcome, SessionOutcome) and outcome.status == "connected"
        for outcome in outcomes
    ):
        gates.open_account_gate(event.account, ctx)
    follow = _files(event, outcomes, file, blob)
    done = [
        digest
        for digest in (*event.blobs, event.whole)
        if digest and not (follow and digest == blob)
    ]
    if done:
        payload_store.release(ctx.redis, [keys.payload(event.id, digest) for digest in done])
    return Settled("done", outcomes, follow=follow)


def dead_letter_webhook(event: WebhookEvent, claim: Claim, reason: str, detail: str) -> ClaimResult:
    logged = LogOutcome(
        at=event.accepted_at,
        id=event.id,
        account=event.account,
        event_type=webhooks.classify_event(
            event.payload, event.account, event.accepted_at
        ).event_type,
        payload=redact_payload(event.payload),
        became=BECAME_DEAD_LETTER,
        error=detail,
    )
    return Settled(
        "failed",
        [build_dead_letter(event, claim, reason, detail), logged],
        {"reason": detail, "code": reason},
    )


def _opened(
    event: WebhookEvent, ctx: WorkerContext
) -> tuple[WebhookEvent, Attachment | None, str | None]:
    """Return the event with its long texts back in their places, its file, and the digest where that waits instead.

    Raises:
        TextGoneError: one of them waited too long.
    """
    if event.whole:
        event = event.model_copy(update={"payload": json.loads(_text(event, event.whole, ctx))})
    file = find_attachment(payload.parse_payload(event.payload).fields)
    blob = payload_store.referenced_digest(file.base64, event.blobs) if file else None
    texts = {digest: _text(event, digest, ctx) for digest in event.blobs if digest != blob}
    if texts:
        event = event.model_copy(
            update={"payload": payload_store.restore_texts(event.payload, texts)}
        )
    return event, file, blob


def _text(event: WebhookEvent, digest: str, ctx: WorkerContext) -> str:
    text = payload_store.read_text(ctx.redis, keys.payload(event.id, digest))
    if text is None:
        msg = "its text was too long for the queue, and is no longer kept beside it"
        raise PayloadExpiredError(msg)
    return text


def _count(event_type: str, ctx: WorkerContext) -> None:
    """Count an event of a type that we don't know; whoever names them cannot fill Redis."""
    known = (
        ctx.redis.hexists(keys.UNRECOGNIZED_EVENTS, event_type)
        or ctx.redis.hlen(keys.UNRECOGNIZED_EVENTS) < routing.MAX_UNRECOGNIZED
    )
    ctx.redis.hincrby(keys.UNRECOGNIZED_EVENTS, event_type if known else routing.OTHER_TYPES, 1)


def _files(
    event: WebhookEvent, outcomes: list[Outcome], file: Attachment | None, blob: str | None
) -> list[Append]:
    """Return the event that brings a message's file into Supabase."""
    where = keys.payload(event.id, blob) if blob else None
    return [
        routing.route_media(event, outcome, file, where)
        for outcome in outcomes
        if isinstance(outcome, MessageOutcome) and outcome.media_state == "pending"
    ]


def _without_own(outcomes: list[Outcome], peer: str, ctx: WorkerContext) -> list[Outcome]:
    """Leave out the echo of a message of ours whose effect was unknown: it proves that one, and is no second."""
    proofs = [
        each for each in outcomes if isinstance(each, MessageOutcome) and _proves(each, peer, ctx)
    ]
    if not proofs:
        return outcomes
    left = [outcome for outcome in outcomes if outcome not in proofs]
    return [
        each.model_copy(update={"became": BECAME_PROOF}) if isinstance(each, LogOutcome) else each
        for each in left
    ]


def _proves(echo: MessageOutcome, peer: str, ctx: WorkerContext) -> bool:
    route = ctx.route_cache.find_account_route(echo.account) if echo.account else None
    if route is None:
        return False
    lane = routing.send_lane(route.id, peer)
    return in_doubt.settle_proven(ctx.redis, ctx.lanes, lane, echo) is not None

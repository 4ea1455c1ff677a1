"""Handle a webhook event: turn what the platform posted into outcomes for Supabase."""

import json

import structlog

from shared import payload_store, routing, webhooks
from shared.events import WebhookEvent
from shared.lanes.types import Append, Claim, ClaimResult, Settled
from shared.numbering import find_twins
from shared.outcomes import (
    BECAME_PROOF,
    UNRECOGNIZED_RESULTS,
    LogOutcome,
    MessageOutcome,
    Outcome,
    SessionOutcome,
)
from shared.redis import keys
from shared.webhooks import ClassifiedEvent, Payload
from shared.webhooks.attachments import find_attachment
from shared.webhooks.redact import redact_payload
from workers import gates
from workers.context import WorkerContext
from workers.dead_letters import build_dead_letter
from workers.send import in_doubt

MAX_RUN = 10
"""Events of a conversation that one claim is for: of a message that goes out, three acks arrive."""

BECAME_DEAD_LETTER = "dead"
"""In the log: a dead letter, until it is replayed. The SQL of the log knows this word."""

log = structlog.get_logger()


class PayloadExpiredError(Exception):
    """A long text of the event has expired in Redis."""


def handle_webhook(event: WebhookEvent, claim: Claim, ctx: WorkerContext) -> ClaimResult:
    """Turn an event into outcomes. Its file is fetched by a media event, in a lane of its own."""
    try:
        payload, file_digest = _load_payload(event, ctx)
    except PayloadExpiredError as error:
        return dead_letter_webhook(event, claim, "payload_expired", str(error))
    classified = webhooks.classify_event(payload, event.account, event.accepted_at)
    outcomes = webhooks.build_outcomes(classified, event.id)
    if classified.type == "echo" and classified.peer:
        outcomes = _settle_proven(outcomes, classified.peer, ctx)
    if (became := _find_result(outcomes)) in UNRECOGNIZED_RESULTS:
        _report_unrecognized(classified, became, ctx)
    if classified.unreadable_sender:
        log.warning("webhook.unreadable_sender", account=classified.account)
        ctx.redis.hincrby(keys.UNRECOGNIZED_EVENTS, routing.UNREADABLE_SENDER, 1)
    if any(isinstance(o, SessionOutcome) and o.status == "connected" for o in outcomes):
        gates.open_account_gate(event.account, ctx)
    follow = _route_files(event, classified, outcomes, file_digest)
    _release_texts(event, file_digest if follow else None, ctx)
    return Settled("done", outcomes, follow=follow)


def handle_following(claim: Claim, _ctx: WorkerContext) -> Settled | None:
    """Turn an event behind a claimed one into outcomes; None: it takes more than computing."""
    event = WebhookEvent.model_validate_json(claim.body)
    if event.blobs or event.whole:
        return None
    payload = webhooks.parse_payload(event.payload)
    classified = webhooks.classify_event(payload, event.account, event.accepted_at)
    if classified.type == "echo" or classified.unreadable_sender:
        return None
    outcomes = webhooks.build_outcomes(classified, event.id)
    if _find_result(outcomes) in UNRECOGNIZED_RESULTS or any(
        isinstance(outcome, SessionOutcome) for outcome in outcomes
    ):
        return None
    return Settled("done", outcomes, follow=_route_files(event, classified, outcomes, None))


def dead_letter_webhook(event: WebhookEvent, claim: Claim, reason: str, detail: str) -> ClaimResult:
    """End an event as a dead letter, and mark its log entry."""
    payload = webhooks.parse_payload(event.payload)
    classified = webhooks.classify_event(payload, event.account, event.accepted_at)
    logged = LogOutcome(
        at=event.accepted_at,
        id=event.id,
        account=event.account,
        event_type=classified.platform_type,
        payload=redact_payload(event.payload),
        became=BECAME_DEAD_LETTER,
        error=detail,
    )
    return Settled(
        "failed",
        [build_dead_letter(event, claim, reason, detail), logged],
        {"reason": detail, "code": reason},
    )


def _load_payload(event: WebhookEvent, ctx: WorkerContext) -> tuple[Payload, str | None]:
    """Return the payload with its long texts restored, and the digest of its file.

    The digest is set only where the file waits in the payload store: it stays there.

    Raises:
        PayloadExpiredError: a text is no longer in the payload store.
    """
    raw = json.loads(_read_text(event, event.whole, ctx)) if event.whole else event.payload
    payload = webhooks.parse_payload(raw)
    if not event.blobs:
        return payload, None
    file = find_attachment(payload.fields)
    file_digest = payload_store.referenced_digest(file.base64, event.blobs) if file else None
    texts = {
        digest: _read_text(event, digest, ctx) for digest in event.blobs if digest != file_digest
    }
    if texts:
        payload = webhooks.parse_payload(payload_store.restore_texts(raw, texts))
    return payload, file_digest


def _read_text(event: WebhookEvent, digest: str, ctx: WorkerContext) -> str:
    text = payload_store.read_text(ctx.redis, keys.payload(event.id, digest))
    if text is None:
        msg = "A long text of the event has expired; the event was replayed too late."
        raise PayloadExpiredError(msg)
    return text


def _find_result(outcomes: list[Outcome]) -> str:
    return next(outcome.became for outcome in outcomes if isinstance(outcome, LogOutcome))


def _report_unrecognized(classified: ClassifiedEvent, became: str, ctx: WorkerContext) -> None:
    """Log and count an event that is not understood. The number of counted types is bounded."""
    name = classified.platform_type
    log.warning(
        "webhook.unrecognized_type", event_type=name, became=became, account=classified.account
    )
    is_counted = (
        ctx.redis.hexists(keys.UNRECOGNIZED_EVENTS, name)
        or ctx.redis.hlen(keys.UNRECOGNIZED_EVENTS) < routing.MAX_UNRECOGNIZED
    )
    ctx.redis.hincrby(keys.UNRECOGNIZED_EVENTS, name if is_counted else routing.OTHER_TYPES, 1)


def _route_files(
    event: WebhookEvent,
    classified: ClassifiedEvent,
    outcomes: list[Outcome],
    file_digest: str | None,
) -> list[Append]:
    """Return the media event that fetches the file of a message."""
    blob = keys.payload(event.id, file_digest) if file_digest else None
    return [
        routing.route_media(event, outcome, classified.attachment, blob)
        for outcome in outcomes
        if isinstance(outcome, MessageOutcome) and outcome.media_state == "pending"
    ]


def _release_texts(event: WebhookEvent, in_use: str | None, ctx: WorkerContext) -> None:
    """Let the texts of the event expire, but not the file that its media event needs."""
    digests = [digest for digest in (*event.blobs, event.whole) if digest and digest != in_use]
    if digests:
        payload_store.release(ctx.redis, [keys.payload(event.id, digest) for digest in digests])


def _settle_proven(outcomes: list[Outcome], peer: str, ctx: WorkerContext) -> list[Outcome]:
    """Settle the message in doubt that an echo proves, and leave out the echo's own row."""
    proofs = [o for o in outcomes if isinstance(o, MessageOutcome) and _proves(o, peer, ctx)]
    if not proofs:
        return outcomes
    return [
        o.model_copy(update={"became": BECAME_PROOF}) if isinstance(o, LogOutcome) else o
        for o in outcomes
        if o not in proofs
    ]


def _proves(echo: MessageOutcome, peer: str, ctx: WorkerContext) -> bool:
    route = ctx.route_cache.find_account_route(echo.account) if echo.account else None
    if route is None:
        return False
    lanes = [routing.send_lane(route.id, twin) for twin in find_twins(peer)]
    return any(in_doubt.settle_proven(ctx.redis, ctx.lanes, lane, echo) for lane in lanes)

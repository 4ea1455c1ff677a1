"""Webhooks: what the platform told, turned into the outcomes that Supabase is given."""

import structlog

from shared import blobs, inbound, intake
from shared.events import WebhookEvent
from shared.inbound import shapes
from shared.inbound.attachments import Attachment, attached
from shared.lanes import PREFIX, Append, Claim, Settled, Verdict
from shared.outcomes import LogOutcome, MessageOutcome, Outcome
from workers import unknown
from workers.dead_letters import dead_letter
from workers.services import Services

UNKNOWN_TYPES = f"{PREFIX}unknown_types"
"""Hash in Redis: how often each type came that we don't know."""
PROOF = "proof"
"""What became of an echo that proved a message of ours: no row of its own."""

log = structlog.get_logger()


def handle(claim: Claim, here: Services) -> Verdict:
    """Turn one event into outcomes; a file that it brings follows by itself, so that nobody waits for it."""
    event = WebhookEvent.model_validate_json(claim.body)
    file = attached(shapes.read(event.payload).fields)
    blob = blobs.digest_in(file.base64, event.blobs) if file else None
    event = _whole(event, blob, here)
    arrival = inbound.describe(event.payload, event.account, event.accepted_at)
    outcomes = inbound.outcomes(arrival, event)
    if arrival.type == "echo" and arrival.peer:
        outcomes = _without_own(outcomes, arrival.peer, here)
    if arrival.type == "unknown":
        log.warning("webhook.unknown_type", event_type=arrival.event_type, account=arrival.account)
        here.redis.hincrby(UNKNOWN_TYPES, arrival.event_type, 1)
    follow = _files(event, outcomes, file, blob)
    if event.blobs and not (follow and blob):
        blobs.let_go(here.redis, [blobs.key(event.id, digest) for digest in event.blobs])
    return Settled("done", outcomes, follow=follow)


def give_up(claim: Claim, reason: str, detail: str) -> Verdict:
    event = WebhookEvent.model_validate_json(claim.body)
    return Settled("failed", [dead_letter(event, claim, reason, detail)], {"reason": detail})


def _whole(event: WebhookEvent, blob: str | None, here: Services) -> WebhookEvent:
    """Return the event with its long texts back in their places, but for its file."""
    texts = {
        digest: text
        for digest in event.blobs
        if digest != blob and (text := blobs.text(here.redis, blobs.key(event.id, digest))) is not None
    }
    return event.model_copy(update={"payload": blobs.filled(event.payload, texts)}) if texts else event


def _files(event: WebhookEvent, outcomes: list[Outcome], file: Attachment | None, blob: str | None) -> list[Append]:
    """Return the event that brings a message's file into Supabase."""
    where = blobs.key(event.id, blob) if blob else None
    return [
        intake.media(event, outcome, file, where)
        for outcome in outcomes
        if isinstance(outcome, MessageOutcome) and outcome.media_state == "pending"
    ]


def _without_own(outcomes: list[Outcome], peer: str, here: Services) -> list[Outcome]:
    """Leave out the echo of a message of ours whose effect was unknown: it proves that one, and is no second."""
    proofs = [each for each in outcomes if isinstance(each, MessageOutcome) and _proves(each, peer, here)]
    if not proofs:
        return outcomes
    left = [outcome for outcome in outcomes if outcome not in proofs]
    return [each.model_copy(update={"became": PROOF}) if isinstance(each, LogOutcome) else each for each in left]


def _proves(echo: MessageOutcome, peer: str, here: Services) -> bool:
    route = here.directory.of_account(echo.account) if echo.account else None
    if route is None:
        return False
    lane = intake.send_lane(route.id, peer)
    return unknown.proven(here.redis, here.lanes, lane, echo.text, echo.wa_message_id) is not None

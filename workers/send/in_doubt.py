"""Messages of which nobody can know whether the platform took them."""

from datetime import timedelta
from typing import Literal
from uuid import UUID

import redis
from pydantic import ValidationError

from shared import routing
from shared.events import SendEvent, utc_now
from shared.lanes import records as ledger
from shared.lanes.client import Claim, ClaimResult, Lanes, Postponed, Settled
from shared.lanes.wakeups import wake
from shared.outcomes import MessageOutcome, Outcome
from shared.route_cache import IntegrationRoute
from workers.dead_letters import build_dead_letter
from workers.retry import EVENT_BACKOFF

PROOF_WITHIN = timedelta(minutes=10)
"""After a message became unknown its echo still proves it. A phone that is linked tells of it in seconds, late webhooks
tell when it was; what somebody types on the phone tomorrow in the same words is another message."""

SKEW = timedelta(minutes=1)
"""How far the platform's clock may be behind ours."""

MOST_RESENDS = 2
"""How often a message of which nobody knows goes out again by policy: a platform that always drops the reply would
have it delivered without end."""


def settle_as_unknown(
    event: SendEvent, claim: Claim, why: str, route: IntegrationRoute | None
) -> ClaimResult:
    """Show it as such, never blindly send it again; unless its organization would rather have it doubled, or tripled.

    It is settled by a later webhook, by an operator, or by nobody.
    """
    if route and route.resends_unknown and claim.resends < MOST_RESENDS:
        again = f"unknown, and sent again by the organization's policy: {why}"
        return Postponed(
            EVENT_BACKOFF.after(claim.attempts), again, fields={"resends": str(claim.resends + 1)}
        )
    return Settled(
        "unknown",
        [routing.build_message_outcome(event, "unknown", utc_now(), error=why)],
        {"reason": why},
    )


Resolution = Literal["sent", "failed", "again"]


def resolve_unknown(
    client: "redis.Redis", lanes: Lanes, event_id: UUID, outcome: Resolution, by: str | None = None
) -> bool:
    """Settle a message by somebody's word for it. False: its effect is not unknown (any more).

    `by` names this very word: said again, it changes nothing, whatever has become of the message since.
    """
    said = f"resolution:{by}"
    if by and client.hexists(ledger.record_key(event_id), said):
        return True
    record = ledger.find_record(client, event_id)
    if record is None or record.state != "unknown" or record.body is None:
        return False
    fields = {said: outcome} if by else {}
    if outcome == "again":
        settled = lanes.resolve(event_id, Settled("queued", fields=fields))
        wake(client, "send")
    else:
        if (event := _readable(record)) is None:
            return False
        told: list[Outcome] = [routing.build_message_outcome(event, outcome, utc_now())]
        if outcome == "failed":
            told.append(
                build_dead_letter(
                    event, record, "settled", "somebody who looked says that it did not go out"
                )
            )
        settled = lanes.resolve(event_id, Settled(outcome, told, fields))
    return settled or bool(by and client.hexists(ledger.record_key(event_id), said))


def settle_proven(
    client: "redis.Redis", lanes: Lanes, lane: str, echo: MessageOutcome
) -> UUID | None:
    """Settle as sent the message that an echo from the phone shows to have gone out; return its id.

    The oldest of those of the same kind and text that were under way just then: each echo proves one. Without a text
    nothing proves that it is this one: any other picture without a caption looks the same.
    """
    records = [
        record for each in lanes.unknown(lane) if (record := ledger.find_record(client, each))
    ]
    for record in sorted(records, key=lambda record: record.accepted):
        if (event := _readable(record)) and _is_of(echo, event, record):
            outcome = routing.build_message_outcome(
                event, "sent", utc_now(), wa_message_id=echo.wa_message_id
            )
            if lanes.resolve(record.id, Settled("sent", [outcome])):
                return record.id
    return None


def _is_of(echo: MessageOutcome, event: SendEvent, record: ledger.Record) -> bool:
    was = routing.build_message_outcome(event, "unknown", record.accepted)
    if not was.text.strip() or (was.text, was.content) != (echo.text, echo.content):
        return False
    return record.accepted - SKEW <= echo.at <= (record.settled or record.accepted) + PROOF_WITHIN


def _readable(record: ledger.Record) -> SendEvent | None:
    """Return the message of a record, or None where it is gone, or of a version that cannot be read here."""
    try:
        return SendEvent.model_validate_json(record.body or b"")
    except ValidationError:
        return None

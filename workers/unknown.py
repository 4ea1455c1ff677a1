"""Messages of which nobody can know whether the platform took them."""

from typing import Literal
from uuid import UUID

import redis

from shared import intake, ledger
from shared.directory import Route
from shared.events import SendEvent, utc_now
from shared.lanes import Claim, Lanes, Postponed, Settled, Verdict
from shared.outcomes import Outcome
from shared.wakeups import wake
from workers.dead_letters import dead_letter
from workers.drain import back_off

MOST_RESENDS = 2
"""How often a message of which nobody knows goes out again by policy: a platform that always drops the reply would
have it delivered without end."""


def unknown(claim: Claim, why: str, route: Route | None) -> Verdict:
    """Show it as such, never blindly send it again; unless its organization would rather have it doubled, or tripled.

    It is settled by a later webhook, by an operator, or by nobody.
    """
    if route and route.resends_unknown and claim.resends < MOST_RESENDS:
        again = f"unknown, and sent again by the organization's policy: {why}"
        return Postponed(back_off(claim.attempts), again, fields={"resends": str(claim.resends + 1)})
    event = SendEvent.model_validate_json(claim.body)
    return Settled("unknown", [intake.message_outcome(event, "unknown", utc_now(), error=why)], {"reason": why})


Resolution = Literal["sent", "failed", "again"]


def settle(client: "redis.Redis", lanes: Lanes, event_id: UUID, outcome: Resolution, by: str | None = None) -> bool:
    """Settle a message by somebody's word for it. False: its effect is not unknown (any more).

    `by` names this very word: said again, it changes nothing, whatever has become of the message since.
    """
    said = f"resolution:{by}"
    if by and client.hexists(ledger.key(event_id), said):
        return True
    record = ledger.find(client, event_id)
    if record is None or record.state != "unknown" or record.body is None:
        return False
    fields = {said: outcome} if by else {}
    if outcome == "again":
        settled = lanes.resolve(event_id, Settled("queued", fields=fields))
        wake(client, "send")
    else:
        event = SendEvent.model_validate_json(record.body)
        told: list[Outcome] = [intake.message_outcome(event, outcome, utc_now())]
        if outcome == "failed":
            told.append(dead_letter(event, record, "settled", "somebody who looked says that it did not go out"))
        settled = lanes.resolve(event_id, Settled(outcome, told, fields))
    return settled or bool(by and client.hexists(ledger.key(event_id), said))


def proven(client: "redis.Redis", lanes: Lanes, lane: str, text: str, wa_message_id: str | None) -> UUID | None:
    """Settle as sent the message that an echo from the phone shows to have gone out; return its id.

    The oldest of those with the same text in this conversation: each echo proves one.
    """
    records = [record for each in lanes.unknown(lane) if (record := ledger.find(client, each)) and record.body]
    for record in sorted(records, key=lambda record: record.accepted):
        event = SendEvent.model_validate_json(record.body or b"")
        if event.text == text:
            outcome = intake.message_outcome(event, "sent", utc_now(), wa_message_id=wa_message_id)
            if lanes.resolve(record.id, Settled("sent", [outcome])):
                return record.id
    return None

"""Dead letters: whatever ends without success, kept whole with its reason; and how it is put back."""

import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import redis
from pydantic import TypeAdapter, ValidationError

from shared import routing
from shared.database import Database, DeadLetter
from shared.events import AnyEvent, MediaEvent, ProvisionEvent, SendEvent, WebhookEvent, utc_now
from shared.lanes import records
from shared.lanes.client import Claim, Lanes, Settled, State
from shared.lanes.wakeups import wake
from shared.outbox import Outbox
from shared.outcomes import DeadLetterOutcome
from shared.webhooks.redact import MAX_BYTES, redact_payload

Waiting = SendEvent | ProvisionEvent | WebhookEvent | MediaEvent
EVENT: TypeAdapter[Waiting] = TypeAdapter(AnyEvent)


def build_dead_letter(
    event: Waiting, claim: Claim | records.Record, reason: str, detail: str
) -> DeadLetterOutcome:
    """Return the dead letter of an event: `reason` is one word to search by, `detail` a sentence to act on."""
    return DeadLetterOutcome(
        at=utc_now(),
        id=event.id,
        organization_id=getattr(event, "organization_id", None),
        account=getattr(event, "account", None),
        kind=event.kind,
        lane=claim.lane,
        reason=reason,
        detail=detail,
        attempts=claim.attempts,
        accepted_at=event.accepted_at,
        event=event.model_dump(mode="json", exclude_none=True),
    )


def refused_outcome(row: dict[str, Any], why: str) -> DeadLetterOutcome:
    """Return the dead letter of a row of the outbox: whole, or shortened where it is too large to be kept."""
    text, now = json.dumps(row, sort_keys=True), utc_now()
    return DeadLetterOutcome(
        at=now,
        id=uuid5(NAMESPACE_URL, text),
        kind="outcome",
        lane="outbox",
        reason="refused",
        detail=why,
        attempts=1,
        accepted_at=now,
        event=row if len(text) <= MAX_BYTES else redact_payload(row),
    )


def describe_error(error: Exception) -> str:
    """Return what an error says, without what was written where that could not be read."""
    if isinstance(error, ValidationError):
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        return "cannot be read: " + "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in faults
        )
    return f"{type(error).__name__}: {error}"


def dead_letter_raw(claim: Claim, reason: str, detail: str, state: State = "failed") -> Settled:
    """End an event that cannot be read here with a dead letter of its raw JSON."""
    raw = claim.body.decode(errors="replace")
    try:
        event = json.loads(raw)
        json.dumps(event, ensure_ascii=False).encode()
    except ValueError:  # no JSON, or half of a surrogate pair in it
        event = None
    if not isinstance(event, dict):
        event = {"raw": raw}
    letter = DeadLetterOutcome(
        at=utc_now(),
        id=claim.id,
        organization_id=_uuid(event.get("organization_id")),
        account=account if isinstance(account := event.get("account"), str) else None,
        kind=claim.kind,
        lane=claim.lane,
        reason=reason,
        detail=detail,
        attempts=claim.attempts,
        accepted_at=datetime.fromtimestamp(claim.accepted_ms / 1000, UTC),
        event=event,
    )
    return Settled(state, [letter], {"reason": detail, "code": reason})


class Replayer:
    """Puts dead letters back, `per_second` of them: events into their lanes, refused outcomes into the outbox.

    Twice is as good as once.
    """

    def __init__(
        self,
        client: "redis.Redis",
        lanes: Lanes,
        database: Database,
        per_second: float = 20,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._lanes = lanes
        self._outbox = Outbox(client, consumer="")
        self._database = database
        self._pause_s = 1 / per_second
        self._sleep = sleep

    def replay(self, letters: Iterable[DeadLetter]) -> tuple[int, int]:
        """Return how many were put back, and how many are on their way, done or unreadable.

        In the order given: `Database.dead_letters.iterate` gives the oldest first, so that those of one conversation
        keep their order.
        """
        back = left = 0
        for letter in letters:
            before = utc_now()
            try:
                new = self._put_back(letter)
            except ValidationError:  # written by a newer version
                left += 1
                continue
            self._database.dead_letters.mark_replayed([letter.id], before)
            back, left = back + new, left + (not new)
            if new:
                self._sleep(self._pause_s)
        return back, left

    def _put_back(self, letter: DeadLetter) -> bool:
        if letter.kind == "outcome":
            self._outbox.add_rows([letter.event])
            return True
        event = EVENT.validate_python(letter.event)
        if letter.replayed_at and records.find_record(self._client, event.id) is None:
            return False  # what became of it is forgotten: it may have been done
        new = self._lanes.replay(routing.route_event(event))
        if new:
            wake(self._client, event.kind)
        return new


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value)
    except (AttributeError, TypeError, ValueError):
        return None

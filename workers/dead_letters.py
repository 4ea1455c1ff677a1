"""Dead letters: events and outcomes that ended without success, with the reason; their replay."""

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
from shared.events import AnyEvent, utc_now
from shared.lanes import records
from shared.lanes.client import Lanes
from shared.lanes.types import Claim, Settled, State
from shared.outbox import Outbox
from shared.outcomes import DeadLetterOutcome
from shared.transitions import tell
from shared.webhooks.redact import MAX_BYTES, redact_payload

EVENT_ADAPTER: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def build_dead_letter(
    event: AnyEvent, claim: Claim | records.Record, reason: str, detail: str
) -> DeadLetterOutcome:
    """Return the dead letter of an event: `reason` is a code, `detail` a sentence for people."""
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


def build_outcome_dead_letter(row: dict[str, Any], detail: str) -> DeadLetterOutcome:
    """Return the dead letter of an outcome that Supabase refuses; a large row is shortened."""
    text = json.dumps(row, sort_keys=True)
    now = utc_now()
    return DeadLetterOutcome(
        at=now,
        id=uuid5(NAMESPACE_URL, text),
        kind="outcome",
        lane="outbox",
        reason="refused",
        detail=detail,
        attempts=1,
        accepted_at=now,
        event=row if len(text) <= MAX_BYTES else redact_payload(row),
    )


def describe_error(error: Exception) -> str:
    """Return the text of an error; of a validation error, without the input, which is private."""
    if isinstance(error, ValidationError):
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        return "cannot be read: " + "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults
        )
    return f"{type(error).__name__}: {error}"


def dead_letter_raw(claim: Claim, reason: str, detail: str, state: State = "failed") -> Settled:
    """Settle an event that this version cannot parse, with a dead letter of its raw JSON.

    A send that went out before, with an unknown effect, ends as unknown.
    """
    if claim.resends:
        state = "unknown"
    raw = claim.body.decode(errors="replace")
    try:
        event = json.loads(raw)
        json.dumps(event, ensure_ascii=False).encode()
    except ValueError:  # not JSON, or it has a lone surrogate
        event = None
    if not isinstance(event, dict):
        event = {"raw": raw}
    letter = DeadLetterOutcome(
        at=utc_now(),
        id=claim.id,
        organization_id=parse_uuid(event.get("organization_id")),
        account=account if isinstance(account := event.get("account"), str) else None,
        kind=claim.queue,
        lane=claim.lane,
        reason=reason,
        detail=detail,
        attempts=claim.attempts,
        accepted_at=datetime.fromtimestamp(claim.accepted_ms / 1000, UTC),
        event=event,
    )
    return Settled(state, [letter], {"reason": detail, "code": reason})


class Replayer:
    """Replays dead letters: events go back into their lanes, outcomes into the outbox.

    Replaying a dead letter twice has no second effect.
    """

    def __init__(
        self,
        client: "redis.Redis",
        lanes: Lanes,
        database: Database,
        per_second: float = 20,
        sleep: Callable[[float], None] = time.sleep,
        by: str | None = None,
    ) -> None:
        """Create it; `by` is who replays, for the trace in the letters."""
        self._by = by
        self.find_client: Callable[[DeadLetter], redis.Redis] = lambda _letter: client
        """Finds the Redis of a letter, where there are several."""
        self._lanes = lanes
        self._database = database
        self._pause_s = 1 / per_second
        self._sleep = sleep

    def replay(self, letters: Iterable[DeadLetter]) -> tuple[int, int]:
        """Replay in the given order; return how many were replayed and how many skipped.

        Skipped are dead letters of events that are queued, done or of an unknown version. The
        order of `Database.dead_letters.iterate`, oldest first, keeps that of a conversation.
        """
        replayed = 0
        skipped = 0
        for letter in letters:
            before = utc_now()
            try:
                is_new = self._enqueue(letter)
            except ValidationError:
                skipped += 1
                continue
            self._database.dead_letters.mark_replayed(
                [letter.id], before, self._by, if_open=not is_new
            )
            if is_new:
                replayed += 1
                about = {"event_id": letter.id, "organization_id": letter.organization_id}
                tell("dead_letter.replayed", kind=letter.kind, **about)
                self._sleep(self._pause_s)
            else:
                skipped += 1
        return replayed, skipped

    def _enqueue(self, letter: DeadLetter) -> bool:
        client = self.find_client(letter)
        lanes = self._lanes
        if client is not lanes.client:
            lanes = Lanes(client, lanes.settings)
        if letter.kind == "outcome":
            Outbox(client).add_rows([letter.event])
            return True
        event = EVENT_ADAPTER.validate_python(letter.event)
        was_replayed = letter.replayed_at and letter.dropped_why is None
        if was_replayed and records.find_record(client, event.id) is None:
            return False  # its record has expired, so the replay may have succeeded
        return lanes.replay(routing.route_event(event))


def parse_uuid(value: Any) -> UUID | None:
    """Return the UUID that a text is, or None."""
    try:
        return UUID(value)
    except (AttributeError, TypeError, ValueError):
        return None

"""Dead letters are replayed once each, in order, at a chosen rate."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx

from shared import routing
from shared.database import Database, DeadLetter, DeadLetterQuery
from shared.events import Message, SendEvent, WebhookEvent, utc_now
from shared.lanes import records
from shared.lanes.types import Claim, ClaimSequence, Settled
from shared.redis import keys
from tests.draining import parse_first
from tests.fixtures.provision_env import supabase_settings
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from workers.dead_letters import Replayer, build_dead_letter
from workers.runner import handle_claim
from workers.send import in_doubt
from workers.webhook import handler as webhook

__all__ = ["pipeline"]

PAUSES: list[float] = []


def build_replayer(pipeline: InboundPipeline, per_second: float = 1000) -> Replayer:
    PAUSES.clear()
    ctx = pipeline.ctx
    return Replayer(ctx.redis, ctx.lanes, ctx.database, per_second, sleep=PAUSES.append)


def claim_send(pipeline: InboundPipeline) -> Claim:
    claim = pipeline.ctx.lanes.claim("send", ClaimSequence())
    assert claim
    return claim


def fail(pipeline: InboundPipeline, claim: Claim, reason: str = "refused") -> None:
    """Settle a claim with a dead letter, and record it."""
    event = SendEvent.model_validate_json(claim.body)
    pipeline.ctx.lanes.conclude(
        claim, Settled("failed", [build_dead_letter(event, claim, reason, "why")])
    )
    pipeline.record()


def send_failing(pipeline: InboundPipeline, *texts: str) -> list[UUID]:
    """Send messages in a conversation that end as dead letters; return their ids."""
    ids = []
    for text in texts:
        item = routing.route_send(
            pipeline.organization, pipeline.integration, Message(to=PEER, text=text)
        )
        ids.append(pipeline.ctx.lanes.append(item).id)
        fail(pipeline, claim_send(pipeline))
    return ids


def find_letters(pipeline: InboundPipeline, **query: Any) -> list[DeadLetter]:
    return list(pipeline.ctx.database.dead_letters.iterate(DeadLetterQuery(**query)))


def get_state(pipeline: InboundPipeline, event_id: UUID) -> str:
    record = records.find_record(pipeline.redis, event_id)
    assert record
    return record.state


def test_a_replay_keeps_the_order_of_a_conversation(
    pipeline: InboundPipeline,
) -> None:
    """The order is that of acceptance, over all pages."""
    ids = send_failing(pipeline, *"abcde")
    pipeline.env.sql("update wpp_dead_letters set at = now() - (accepted_at - now())")
    with httpx.Client(trust_env=False) as http:
        database = Database(supabase_settings(pipeline.env.supabase), http, page_size=2)
        found = list(database.dead_letters.iterate(DeadLetterQuery()))
    assert build_replayer(pipeline).replay(found) == (5, 0)
    lane = routing.send_lane(pipeline.integration, PEER)
    waiting: Any = pipeline.redis.lrange(keys.lane(lane), 0, -1)
    assert [UUID(each.decode()) for each in waiting] == ids


def test_a_replay_has_the_chosen_rate(pipeline: InboundPipeline) -> None:
    """Each replayed dead letter is followed by a pause; skipping takes no pause."""
    send_failing(pipeline, *"abc")
    found = find_letters(pipeline)
    assert build_replayer(pipeline, per_second=4).replay(found) == (3, 0)
    assert PAUSES == [0.25] * 3
    assert build_replayer(pipeline, per_second=4).replay(found) == (0, 3)
    assert PAUSES == []


def test_a_message_that_fails_again_during_its_replay_stays_listed(
    pipeline: InboundPipeline,
) -> None:
    """Marking the first dead letter as replayed does not mark the second."""
    send_failing(pipeline, "once more")
    (letter,) = find_letters(pipeline)
    before = utc_now()
    assert pipeline.ctx.lanes.replay(routing.route_event(SendEvent.model_validate(letter.event)))
    fail(pipeline, claim_send(pipeline), "again")
    pipeline.ctx.database.dead_letters.mark_replayed([letter.id], before)
    assert [each.reason for each in find_letters(pipeline)] == ["again"]


def test_a_second_replay_is_skipped_when_the_record_has_expired(
    pipeline: InboundPipeline,
) -> None:
    """The first replay may have been delivered."""
    (event_id,) = send_failing(pipeline, "once")
    assert build_replayer(pipeline).replay(find_letters(pipeline)) == (1, 0)
    claim = claim_send(pipeline)
    pipeline.ctx.lanes.conclude(claim, Settled("sent"))
    pipeline.redis.delete(records.record_key(event_id))
    assert find_letters(pipeline) == []
    assert build_replayer(pipeline).replay(find_letters(pipeline, replayed=True)) == (0, 1)
    assert pipeline.ctx.lanes.claim("send", ClaimSequence()) is None


def test_a_first_replay_works_after_the_record_has_expired(pipeline: InboundPipeline) -> None:
    (event_id,) = send_failing(pipeline, "late")
    pipeline.redis.delete(records.record_key(event_id))
    assert build_replayer(pipeline).replay(find_letters(pipeline)) == (1, 0)
    assert get_state(pipeline, event_id) == "queued"


def test_a_dead_letter_of_an_unknown_version_is_skipped(pipeline: InboundPipeline) -> None:
    (event_id,) = send_failing(pipeline, "odd")
    pipeline.env.sql('update wpp_dead_letters set event = event || \'{"kind": "novelty"}\'')
    assert build_replayer(pipeline).replay(find_letters(pipeline)) == (0, 1)
    assert [letter.id for letter in find_letters(pipeline)] == [event_id]


def test_a_replayed_outcome_goes_into_the_outbox(pipeline: InboundPipeline) -> None:
    """Once the CRM has dropped its constraint, the row is recorded, once for two replays."""
    rule = "alter table chat_messages add constraint polite check (message_text <> 'damn')"
    pipeline.env.sql(rule)
    try:
        pipeline.post(
            *(
                {"from": f"+{PEER}", "type": "chat", "text": text, "messageId": text}
                for text in ("damn", "hi")
            )
        )
        pipeline.settle()
    finally:
        pipeline.env.sql("alter table chat_messages drop constraint polite")
    assert [row["message_text"] for row in pipeline.messages()] == ["hi"]
    found = find_letters(
        pipeline, organization_id=pipeline.organization, kind="outcome", reason="refused"
    )
    for _ in range(2):
        assert build_replayer(pipeline).replay(found) == (1, 0)
        pipeline.record()
        assert sorted(row["message_text"] for row in pipeline.messages()) == ["damn", "hi"]
    assert find_letters(pipeline) == []


def test_a_message_that_is_settled_as_failed_has_a_dead_letter(
    pipeline: InboundPipeline,
) -> None:
    """It is listed, and a replay sends it."""
    item = routing.route_send(
        pipeline.organization, pipeline.integration, Message(to=PEER, text="Perhaps")
    )
    event_id = pipeline.ctx.lanes.append(item).id
    pipeline.ctx.lanes.conclude(claim_send(pipeline), Settled("unknown"))
    assert in_doubt.resolve_unknown(pipeline.redis, pipeline.ctx.lanes, event_id, "failed")
    pipeline.record()
    (letter,) = find_letters(pipeline, organization_id=pipeline.organization)
    assert (letter.id, letter.reason, letter.attempts, letter.event["text"]) == (
        event_id,
        "settled",
        1,
        "Perhaps",
    )
    assert build_replayer(pipeline).replay([letter]) == (1, 0)
    assert get_state(pipeline, event_id) == "queued"


def test_a_dead_webhook_is_logged_as_dead_until_it_is_replayed(
    pipeline: InboundPipeline,
) -> None:
    """The webhook log shows the result of each webhook."""
    pipeline.post({"from": f"+{PEER}", "type": "chat", "text": "Hello", "messageId": "M1"})
    claim = pipeline.ctx.lanes.claim("webhook", ClaimSequence())
    assert claim
    late = WebhookEvent.model_validate_json(claim.body)
    expired = Claim(**(vars(claim) | {"expires_ms": claim.now_ms}))
    result = handle_claim(
        expired,
        lambda each: parse_first(WebhookEvent, webhook.handle_webhook)(each, pipeline.ctx),
        parse_first(WebhookEvent, webhook.dead_letter_webhook),
    )
    pipeline.ctx.lanes.conclude(claim, result)
    pipeline.record()
    assert [(row["id"], row["became"]) for row in pipeline.logged()] == [(late.id, "dead")]
    assert build_replayer(pipeline).replay(
        find_letters(pipeline, kind="webhook", since=utc_now() - timedelta(hours=1))
    ) == (1, 0)
    pipeline.settle()
    assert [(row["id"], row["became"]) for row in pipeline.logged()] == [(late.id, "message")]
    assert [row["message_text"] for row in pipeline.messages()] == ["Hello"]

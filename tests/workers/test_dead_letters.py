"""Dead letters are put back once each, in order, at a chosen pace; what dies again is in view again."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx

from shared import routing
from shared.database import Database, DeadLetter, DeadLetterQuery
from shared.events import Message, SendEvent, WebhookEvent, utc_now
from shared.lanes import records
from shared.lanes.client import Claim, Settled, Slot
from shared.redis import keys
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from tests.workers.provision.environment import supabase_settings
from workers.dead_letters import Replayer, build_dead_letter
from workers.runner import handle_claim, parse_first
from workers.send import in_doubt
from workers.webhook import handler as webhook

__all__ = ["pipeline"]

SLEPT: list[float] = []


def replayer(pipeline: InboundPipeline, per_second: float = 1000) -> Replayer:
    SLEPT.clear()
    ctx = pipeline.ctx
    return Replayer(ctx.redis, ctx.lanes, ctx.database, per_second, sleep=SLEPT.append)


def claimed(pipeline: InboundPipeline) -> Claim:
    claim = pipeline.ctx.lanes.claim("send", Slot())
    assert claim
    return claim


def die(pipeline: InboundPipeline, claim: Claim, reason: str = "refused") -> None:
    """End a claim as a flow does that gives up, and record it."""
    event = SendEvent.model_validate_json(claim.body)
    pipeline.ctx.lanes.conclude(
        claim, Settled("failed", [build_dead_letter(event, claim, reason, "why")])
    )
    pipeline.record()


def failed(pipeline: InboundPipeline, *texts: str) -> list[UUID]:
    """Send messages in one conversation, each of which ends as a dead letter; return their ids."""
    ids = []
    for text in texts:
        item = routing.route_send(
            pipeline.organization, pipeline.integration, Message(to=PEER, text=text)
        )
        ids.append(pipeline.ctx.lanes.append(item).id)
        die(pipeline, claimed(pipeline))
    return ids


def letters(pipeline: InboundPipeline, **query: Any) -> list[DeadLetter]:
    return list(pipeline.ctx.database.dead_letters.iterate(DeadLetterQuery(**query)))


def state(pipeline: InboundPipeline, event_id: UUID) -> str:
    record = records.find_record(pipeline.redis, event_id)
    assert record
    return record.state


def test_a_conversation_goes_out_in_the_order_in_which_it_was_accepted(
    pipeline: InboundPipeline,
) -> None:
    """However many pages of dead letters there are, and in whatever order they died."""
    ids = failed(pipeline, *"abcde")
    pipeline.env.sql("update wpp_dead_letters set at = now() - (accepted_at - now())")
    with httpx.Client(trust_env=False) as http:
        database = Database(supabase_settings(pipeline.env.supabase), http, page_size=2)
        found = list(database.dead_letters.iterate(DeadLetterQuery()))
    assert replayer(pipeline).replay(found) == (5, 0)
    lane = routing.send_lane(pipeline.integration, PEER)
    waiting: Any = pipeline.redis.lrange(keys.lane(lane), 0, -1)
    assert [UUID(each.decode()) for each in waiting] == ids


def test_they_are_put_back_at_the_chosen_rate(pipeline: InboundPipeline) -> None:
    """One pause after each that went back, none for what stays as it is."""
    failed(pipeline, *"abc")
    found = letters(pipeline)
    assert replayer(pipeline, per_second=4).replay(found) == (3, 0)
    assert SLEPT == [0.25] * 3
    assert replayer(pipeline, per_second=4).replay(found) == (0, 3)
    assert SLEPT == []


def test_what_dies_again_before_the_replay_is_noted_stays_in_view(
    pipeline: InboundPipeline,
) -> None:
    """It is put back, claimed and refused at once: the second death is not taken for the one that was replayed."""
    failed(pipeline, "once more")
    (letter,) = letters(pipeline)
    before = utc_now()
    assert pipeline.ctx.lanes.replay(routing.route_event(SendEvent.model_validate(letter.event)))
    die(pipeline, claimed(pipeline), "again")
    pipeline.ctx.database.dead_letters.mark_replayed([letter.id], before)
    assert [each.reason for each in letters(pipeline)] == ["again"]


def test_what_was_replayed_is_left_alone_when_its_record_is_forgotten(
    pipeline: InboundPipeline,
) -> None:
    """Eight days later nobody knows any more whether the message went out: it does not go out again."""
    (event_id,) = failed(pipeline, "once")
    assert replayer(pipeline).replay(letters(pipeline)) == (1, 0)
    claim = claimed(pipeline)
    pipeline.ctx.lanes.conclude(claim, Settled("sent"))
    pipeline.redis.delete(records.record_key(event_id))
    assert letters(pipeline) == []
    assert replayer(pipeline).replay(letters(pipeline, replayed=True)) == (0, 1)
    assert pipeline.ctx.lanes.claim("send", Slot()) is None


def test_what_was_never_replayed_goes_out_whenever_it_is(pipeline: InboundPipeline) -> None:
    (event_id,) = failed(pipeline, "late")
    pipeline.redis.delete(records.record_key(event_id))
    assert replayer(pipeline).replay(letters(pipeline)) == (1, 0)
    assert state(pipeline, event_id) == "queued"


def test_what_a_newer_version_wrote_is_left_as_it_is(pipeline: InboundPipeline) -> None:
    (event_id,) = failed(pipeline, "odd")
    pipeline.env.sql('update wpp_dead_letters set event = event || \'{"kind": "novelty"}\'')
    assert replayer(pipeline).replay(letters(pipeline)) == (0, 1)
    assert [letter.id for letter in letters(pipeline)] == [event_id]


def test_a_refused_outcome_goes_back_into_the_outbox(pipeline: InboundPipeline) -> None:
    """The CRM dropped its rule: the row is there after all. Twice is as good as once."""
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
    found = letters(
        pipeline, organization_id=pipeline.organization, kind="outcome", reason="refused"
    )
    for _ in range(2):
        assert replayer(pipeline).replay(found) == (1, 0)
        pipeline.record()
        assert sorted(row["message_text"] for row in pipeline.messages()) == ["damn", "hi"]
    assert letters(pipeline) == []


def test_a_message_that_an_operator_settles_as_failed_is_a_dead_letter(
    pipeline: InboundPipeline,
) -> None:
    """It ended without success: it is in view, and can be sent again."""
    item = routing.route_send(
        pipeline.organization, pipeline.integration, Message(to=PEER, text="Perhaps")
    )
    event_id = pipeline.ctx.lanes.append(item).id
    pipeline.ctx.lanes.conclude(claimed(pipeline), Settled("unknown"))
    assert in_doubt.resolve_unknown(pipeline.redis, pipeline.ctx.lanes, event_id, "failed")
    pipeline.record()
    (letter,) = letters(pipeline, organization_id=pipeline.organization)
    assert (letter.id, letter.reason, letter.attempts, letter.event["text"]) == (
        event_id,
        "settled",
        1,
        "Perhaps",
    )
    assert replayer(pipeline).replay([letter]) == (1, 0)
    assert state(pipeline, event_id) == "queued"


def test_a_webhook_that_was_given_up_is_logged_so_until_it_is_replayed(
    pipeline: InboundPipeline,
) -> None:
    """The raw log tells of each event what became of it, also of one that nobody could use."""
    pipeline.post({"from": f"+{PEER}", "type": "chat", "text": "Hello", "messageId": "M1"})
    claim = pipeline.ctx.lanes.claim("webhook", Slot())
    assert claim
    late = WebhookEvent.model_validate_json(claim.body)
    expired = Claim(**(vars(claim) | {"expires_ms": claim.now_ms}))
    verdict = handle_claim(
        expired,
        lambda each: parse_first(WebhookEvent, webhook.handle_webhook)(each, pipeline.ctx),
        parse_first(WebhookEvent, webhook.dead_letter_webhook),
    )
    pipeline.ctx.lanes.conclude(claim, verdict)
    pipeline.record()
    assert [(row["id"], row["became"]) for row in pipeline.logged()] == [(late.id, "dead")]
    assert replayer(pipeline).replay(
        letters(pipeline, kind="webhook", since=utc_now() - timedelta(hours=1))
    ) == (1, 0)
    pipeline.settle()
    assert [(row["id"], row["became"]) for row in pipeline.logged()] == [(late.id, "message")]
    assert [row["message_text"] for row in pipeline.messages()] == ["Hello"]

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
from tests.pipeline.inbound.conftest import town
from tests.pipeline.inbound.inbound_pipeline import PEER, Town
from tests.workers.provision.environment import supabase_settings
from workers.dead_letters import Replayer, build_dead_letter
from workers.runner import handle_claim, parse_first
from workers.send import in_doubt
from workers.webhook import handler as webhook

__all__ = ["town"]

SLEPT: list[float] = []


def replayer(town: Town, per_second: float = 1000) -> Replayer:
    SLEPT.clear()
    ctx = town.ctx
    return Replayer(ctx.redis, ctx.lanes, ctx.database, per_second, sleep=SLEPT.append)


def claimed(town: Town) -> Claim:
    claim = town.ctx.lanes.claim("send", Slot())
    assert claim
    return claim


def die(town: Town, claim: Claim, reason: str = "refused") -> None:
    """End a claim as a flow does that gives up, and record it."""
    event = SendEvent.model_validate_json(claim.body)
    town.ctx.lanes.conclude(
        claim, Settled("failed", [build_dead_letter(event, claim, reason, "why")])
    )
    town.record()


def failed(town: Town, *texts: str) -> list[UUID]:
    """Send messages in one conversation, each of which ends as a dead letter; return their ids."""
    ids = []
    for text in texts:
        item = routing.route_send(town.organization, town.integration, Message(to=PEER, text=text))
        ids.append(town.ctx.lanes.append(item).id)
        die(town, claimed(town))
    return ids


def letters(town: Town, **query: Any) -> list[DeadLetter]:
    return list(town.ctx.database.dead_letters.iterate(DeadLetterQuery(**query)))


def state(town: Town, event_id: UUID) -> str:
    record = records.find_record(town.redis, event_id)
    assert record
    return record.state


def test_a_conversation_goes_out_in_the_order_in_which_it_was_accepted(town: Town) -> None:
    """However many pages of dead letters there are, and in whatever order they died."""
    ids = failed(town, *"abcde")
    town.shop.sql("update wpp_dead_letters set at = now() - (accepted_at - now())")
    with httpx.Client(trust_env=False) as http:
        database = Database(supabase_settings(town.shop.supabase), http, page_size=2)
        found = list(database.dead_letters.iterate(DeadLetterQuery()))
    assert replayer(town).replay(found) == (5, 0)
    lane = routing.send_lane(town.integration, PEER)
    waiting: Any = town.redis.lrange(keys.lane(lane), 0, -1)
    assert [UUID(each.decode()) for each in waiting] == ids


def test_they_are_put_back_at_the_chosen_rate(town: Town) -> None:
    """One pause after each that went back, none for what stays as it is."""
    failed(town, *"abc")
    found = letters(town)
    assert replayer(town, per_second=4).replay(found) == (3, 0)
    assert SLEPT == [0.25] * 3
    assert replayer(town, per_second=4).replay(found) == (0, 3)
    assert SLEPT == []


def test_what_dies_again_before_the_replay_is_noted_stays_in_view(town: Town) -> None:
    """It is put back, claimed and refused at once: the second death is not taken for the one that was replayed."""
    failed(town, "once more")
    (letter,) = letters(town)
    before = utc_now()
    assert town.ctx.lanes.replay(routing.route_event(SendEvent.model_validate(letter.event)))
    die(town, claimed(town), "again")
    town.ctx.database.dead_letters.mark_replayed([letter.id], before)
    assert [each.reason for each in letters(town)] == ["again"]


def test_what_was_replayed_is_left_alone_when_its_record_is_forgotten(town: Town) -> None:
    """Eight days later nobody knows any more whether the message went out: it does not go out again."""
    (event_id,) = failed(town, "once")
    assert replayer(town).replay(letters(town)) == (1, 0)
    claim = claimed(town)
    town.ctx.lanes.conclude(claim, Settled("sent"))
    town.redis.delete(records.record_key(event_id))
    assert letters(town) == []
    assert replayer(town).replay(letters(town, replayed=True)) == (0, 1)
    assert town.ctx.lanes.claim("send", Slot()) is None


def test_what_was_never_replayed_goes_out_whenever_it_is(town: Town) -> None:
    (event_id,) = failed(town, "late")
    town.redis.delete(records.record_key(event_id))
    assert replayer(town).replay(letters(town)) == (1, 0)
    assert state(town, event_id) == "queued"


def test_what_a_newer_version_wrote_is_left_as_it_is(town: Town) -> None:
    (event_id,) = failed(town, "odd")
    town.shop.sql('update wpp_dead_letters set event = event || \'{"kind": "novelty"}\'')
    assert replayer(town).replay(letters(town)) == (0, 1)
    assert [letter.id for letter in letters(town)] == [event_id]


def test_a_refused_outcome_goes_back_into_the_outbox(town: Town) -> None:
    """The CRM dropped its rule: the row is there after all. Twice is as good as once."""
    rule = "alter table chat_messages add constraint polite check (message_text <> 'damn')"
    town.shop.sql(rule)
    try:
        town.post(
            *(
                {"from": f"+{PEER}", "type": "chat", "text": text, "messageId": text}
                for text in ("damn", "hi")
            )
        )
        town.settle()
    finally:
        town.shop.sql("alter table chat_messages drop constraint polite")
    assert [row["message_text"] for row in town.messages()] == ["hi"]
    found = letters(town, organization_id=town.organization, kind="outcome", reason="refused")
    for _ in range(2):
        assert replayer(town).replay(found) == (1, 0)
        town.record()
        assert sorted(row["message_text"] for row in town.messages()) == ["damn", "hi"]
    assert letters(town) == []


def test_a_message_that_an_operator_settles_as_failed_is_a_dead_letter(town: Town) -> None:
    """It ended without success: it is in view, and can be sent again."""
    item = routing.route_send(town.organization, town.integration, Message(to=PEER, text="Perhaps"))
    event_id = town.ctx.lanes.append(item).id
    town.ctx.lanes.conclude(claimed(town), Settled("unknown"))
    assert in_doubt.resolve_unknown(town.redis, town.ctx.lanes, event_id, "failed")
    town.record()
    (letter,) = letters(town, organization_id=town.organization)
    assert (letter.id, letter.reason, letter.attempts, letter.event["text"]) == (
        event_id,
        "settled",
        1,
        "Perhaps",
    )
    assert replayer(town).replay([letter]) == (1, 0)
    assert state(town, event_id) == "queued"


def test_a_webhook_that_was_given_up_is_logged_so_until_it_is_replayed(town: Town) -> None:
    """The raw log tells of each event what became of it, also of one that nobody could use."""
    town.post({"from": f"+{PEER}", "type": "chat", "text": "Hello", "messageId": "M1"})
    claim = town.ctx.lanes.claim("webhook", Slot())
    assert claim
    late = WebhookEvent.model_validate_json(claim.body)
    expired = Claim(**(vars(claim) | {"expires_ms": claim.now_ms}))
    verdict = handle_claim(
        expired,
        lambda each: parse_first(WebhookEvent, webhook.handle_webhook)(each, town.ctx),
        parse_first(WebhookEvent, webhook.dead_letter_webhook),
    )
    town.ctx.lanes.conclude(claim, verdict)
    town.record()
    assert [(row["id"], row["became"]) for row in town.logged()] == [(late.id, "dead")]
    assert replayer(town).replay(
        letters(town, kind="webhook", since=utc_now() - timedelta(hours=1))
    ) == (1, 0)
    town.settle()
    assert [(row["id"], row["became"]) for row in town.logged()] == [(late.id, "message")]
    assert [row["message_text"] for row in town.messages()] == ["Hello"]

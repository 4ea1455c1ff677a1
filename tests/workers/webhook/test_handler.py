"""A worker turns webhook events into outcomes, and routes their files to media events."""

import hashlib
import json
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import pytest
import redis
import structlog
from pydantic import HttpUrl

from shared import payload_store, routing
from shared.events import Media, MediaEvent, Message, SendEvent, WebhookEvent, utc_now
from shared.lanes.records import find_record
from shared.lanes.types import Claim, ClaimSequence, Settled
from shared.outcomes import BECAME_PROOF, DeadLetterOutcome, LogOutcome, MessageOutcome
from shared.redis import keys
from tests.draining import parse_first
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from tests.shared.webhooks.webhook_events import route
from tests.workers.media.samples import base64_of, jpeg
from workers.send import in_doubt
from workers.webhook import handler as webhook

__all__ = ["pipeline"]

FLAT: dict[str, Any] = {"from": f"+{PEER}", "type": "chat", "text": "Hello", "messageId": "M1"}
PHOTO = {"mimetype": "image/jpeg", "filename": "file"}


def claim_event(
    pipeline: InboundPipeline, payload: dict[str, Any], blobs: tuple[str, ...] = ()
) -> Claim:
    pipeline.ctx.lanes.append(route(payload, pipeline.account, blobs))
    claim = pipeline.ctx.lanes.claim("webhook", ClaimSequence())
    assert claim
    return claim


def handle(
    pipeline: InboundPipeline, payload: dict[str, Any], blobs: tuple[str, ...] = ()
) -> Settled:
    result = parse_first(WebhookEvent, webhook.handle_webhook)(
        claim_event(pipeline, payload, blobs), pipeline.ctx
    )
    assert isinstance(result, Settled)
    return result


def test_a_message_becomes_its_row_and_its_log(pipeline: InboundPipeline) -> None:
    message, log = handle(pipeline, FLAT).outcomes
    assert isinstance(message, MessageOutcome)
    assert isinstance(log, LogOutcome)
    assert (message.text, message.account, log.became) == ("Hello", pipeline.account, "message")


def handle_behind(pipeline: InboundPipeline, payload: dict[str, Any]) -> Settled | None:
    """Handle an event behind the claimed event of a conversation."""
    pipeline.ctx.lanes.runs["webhook"] = 2
    for each in (FLAT, payload):
        pipeline.ctx.lanes.append(route(each, pipeline.account))
    claim = pipeline.ctx.lanes.claim("webhook", ClaimSequence())
    assert claim
    [behind] = claim.following
    return webhook.handle_following(behind, pipeline.ctx)


@pytest.mark.parametrize("media", [{}, {"type": "image", "media": {**PHOTO, "base64": "AAAA"}}])
def test_an_event_behind_another_ends_as_it_would_alone(
    pipeline: InboundPipeline, media: dict[str, Any]
) -> None:
    payload = {**FLAT, "messageId": "M2", **media}
    behind = handle_behind(pipeline, payload)
    assert behind
    pipeline.redis.flushall()
    alone = handle(pipeline, payload)
    assert plain(behind) == plain(alone)


def plain(end: Settled) -> tuple[str, list[dict[str, Any]], list[str]]:
    """Return an end without what is new each time: ids, and times of arrival."""
    fresh = {"id", "at", "received_at", "arrived_at"}
    outcomes = [outcome.model_dump(exclude=fresh) for outcome in end.outcomes]
    return end.state, outcomes, [follow.queue for follow in end.follow]


@pytest.mark.parametrize(
    "payload",
    [
        {**FLAT, "messageId": "M2", "fromMe": True},
        {"from": f"+{PEER}", "type": "teapot"},
    ],
    ids=["echo", "unknown type"],
)
def test_an_event_that_takes_more_than_computing_has_a_claim_of_its_own(
    pipeline: InboundPipeline, payload: dict[str, Any]
) -> None:
    """Effects need a lease: settling a message in doubt, opening a gate, counting."""
    with structlog.testing.capture_logs() as logs:
        assert handle_behind(pipeline, payload) is None
    assert logs == []


@pytest.mark.parametrize("file", [{"base64": "AAAA"}, {"url": "https://media.example/x"}, {}])
def test_a_file_follows_in_a_lane_of_its_own(
    pipeline: InboundPipeline, file: dict[str, str]
) -> None:
    """The conversation does not wait for the file."""
    result = handle(pipeline, {**FLAT, "type": "image", "media": {**PHOTO, **file}})
    (follow,) = result.follow
    event, message = (
        MediaEvent.model_validate_json(follow.body),
        cast("MessageOutcome", result.outcomes[0]),
    )
    assert (follow.queue, follow.lane, follow.tenant) == (
        "media",
        f"media:{message.id}",
        pipeline.account,
    )
    assert (event.base64, event.url, event.blob) == (file.get("base64"), file.get("url"), None)
    assert event.message == message


def test_a_file_is_fetched_at_once(pipeline: InboundPipeline, redis_client: redis.Redis) -> None:
    """The settlement wakes a media worker; the file does not wait for the sweeper."""
    pipeline.post({**FLAT, "type": "image", "media": {**PHOTO, "base64": "AAAA"}})
    pipeline.drain("webhook", webhook)
    assert redis_client.llen(keys.bell("media")) == 1


def handle_with_stored_text(
    pipeline: InboundPipeline, payload: dict[str, Any], text: str
) -> tuple[Settled, str]:
    """Handle an event whose `text` is in the payload store; return the result and the key."""
    (digest,) = (found := payload_store.extract_long_texts(f'{{"a":"{text}"}}'.encode())[1])
    stand_in = text[: payload_store.PREFIX_BYTES] + digest
    filled: Any = {k: {**v, "base64": stand_in} if k == "media" else v for k, v in payload.items()}
    if "media" not in payload:
        filled["text"] = stand_in
    claim = claim_event(pipeline, filled, (digest,))
    key = keys.payload(claim.id, digest)
    pipeline.redis.set(key, found[digest], ex=100_000)
    result = parse_first(WebhookEvent, webhook.handle_webhook)(claim, pipeline.ctx)
    assert isinstance(result, Settled)
    return result, key


def test_a_large_file_stays_in_the_payload_store(pipeline: InboundPipeline) -> None:
    """The media event gets its key, and the file lasts until that event is done."""
    result, key = handle_with_stored_text(
        pipeline, {**FLAT, "type": "image", "media": PHOTO}, base64_of(jpeg() + bytes(50_000))
    )
    event = MediaEvent.model_validate_json(result.follow[0].body)
    assert (event.blob, event.base64) == (key, None)
    assert pipeline.redis.ttl(key) > payload_store.RELEASED_TTL_S


def test_a_long_text_is_restored_and_released(pipeline: InboundPipeline) -> None:
    text = "long " * 10_000
    result, key = handle_with_stored_text(pipeline, FLAT, text)
    assert cast("MessageOutcome", result.outcomes[0]).text == text.strip()
    assert pipeline.redis.ttl(key) <= payload_store.RELEASED_TTL_S


def test_a_file_of_an_ignored_chat_is_released(pipeline: InboundPipeline) -> None:
    group = {**FLAT, "from": "120363012345678901@g.us", "type": "image", "media": PHOTO}
    result, key = handle_with_stored_text(pipeline, group, base64_of(jpeg() + bytes(50_000)))
    assert result.follow == []
    assert pipeline.redis.ttl(key) <= payload_store.RELEASED_TTL_S


def test_defect_08_an_unrecognized_type_is_logged_and_counted(
    pipeline: InboundPipeline, redis_client: redis.Redis
) -> None:
    with structlog.testing.capture_logs() as logs:
        for number in range(3):
            pipeline.post(
                {"type": "poll.created", "account": pipeline.account, "id": f"evt_{number}"}
            )
        pipeline.settle()
    assert redis_client.hgetall(keys.UNRECOGNIZED_EVENTS) == {b"poll.created": b"3"}
    assert [row["became"] for row in pipeline.logged()] == ["unknown"] * 3
    assert "webhook.unrecognized_type" in {line["event"] for line in logs}


def test_the_number_of_counted_types_is_limited(
    pipeline: InboundPipeline, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a limit, further types are counted together."""
    monkeypatch.setattr(routing, "MAX_UNRECOGNIZED", 2)
    for number in (1, 2, 3, 4, 1):
        pipeline.post({"type": f"novelty.{number}", "created": number, "id": f"evt_{number}"})
    pipeline.settle()
    counted = redis_client.hgetall(keys.UNRECOGNIZED_EVENTS)
    assert len(counted) == 3
    assert counted[routing.OTHER_TYPES.encode()] == b"2"


def test_an_event_in_the_payload_store_is_read_whole(pipeline: InboundPipeline) -> None:
    whole = json.dumps({**FLAT, "texts": ["x" * 10_000] * 10})
    digest = hashlib.sha256(whole.encode()).hexdigest()
    append = route(FLAT, pipeline.account, whole=digest)
    pipeline.ctx.lanes.append(append)
    key = keys.payload(append.id, digest)
    pipeline.redis.set(key, whole, ex=100_000)
    claim = pipeline.ctx.lanes.claim("webhook", ClaimSequence())
    assert claim
    result = parse_first(WebhookEvent, webhook.handle_webhook)(claim, pipeline.ctx)
    assert isinstance(result, Settled)
    assert cast("MessageOutcome", result.outcomes[0]).text == "Hello"
    assert pipeline.redis.ttl(key) <= payload_store.RELEASED_TTL_S


def test_an_event_whose_text_has_expired_is_a_dead_letter(
    pipeline: InboundPipeline,
) -> None:
    """The event was replayed too late: the queue holds only the start of its text."""
    digest = "0" * 64
    result = handle(pipeline, {**FLAT, "text": f"long long{digest}"}, (digest,))
    letter, log = result.outcomes
    assert isinstance(letter, DeadLetterOutcome)
    assert (letter.reason, result.state) == ("payload_expired", "failed")
    assert cast("LogOutcome", log).became == webhook.BECAME_DEAD_LETTER


@pytest.mark.parametrize(
    ("to", "peer"),
    [(PEER, PEER), ("+525512345601", "5215512345601")],
    ids=["same", "before-the-new-plan"],
)
def test_an_echo_that_proves_a_message_makes_no_second_row(
    pipeline: InboundPipeline, to: str, peer: str
) -> None:
    """The message in doubt becomes sent; the log names the echo as its proof."""
    pipeline.ctx.route_cache.store_routes([])
    event = routing.route_send(
        pipeline.organization, pipeline.integration, Message(to=to, text="Perhaps")
    )
    pipeline.ctx.lanes.append(event)
    claim = pipeline.ctx.lanes.claim("send", ClaimSequence())
    assert claim
    pipeline.ctx.lanes.conclude(
        claim,
        parse_first(SendEvent, in_doubt.settle_as_unknown)(claim, "the answer was lost", None),
    )
    result = handle(
        pipeline, {**FLAT, "fromMe": True, "to": peer, "text": "Perhaps", "messageId": "E1"}
    )
    (log,) = result.outcomes
    assert cast("LogOutcome", log).became == BECAME_PROOF
    record = find_record(pipeline.redis, claim.id)
    assert record
    assert record.state == "sent"


PICTURE = Media(type="image", url=HttpUrl("https://env.example/a.jpg"))
NO_PROOFS: list[tuple[Message, dict[str, Any], timedelta]] = [
    (Message(to=PEER, text="Perhaps"), {"text": "Surely"}, timedelta()),
    (
        Message(to=PEER, text="Perhaps"),
        {"text": "Perhaps", "type": "image", "media": PHOTO},
        timedelta(),
    ),
    (Message(to=PEER, media=PICTURE), {"text": "", "type": "image", "media": PHOTO}, timedelta()),
    (Message(to=PEER, text="Perhaps"), {"text": "Perhaps"}, timedelta(hours=1)),
    (Message(to=PEER, text="Perhaps"), {"text": "Perhaps"}, -timedelta(hours=1)),
]


@pytest.mark.parametrize(("message", "echo", "later"), NO_PROOFS)
def test_an_echo_of_a_different_message_is_no_proof(
    pipeline: InboundPipeline, message: Message, echo: dict[str, Any], later: timedelta
) -> None:
    """A different text, type or time, or no text: the echo is a message of its own."""
    pipeline.ctx.route_cache.store_routes([])
    pipeline.ctx.lanes.append(
        routing.route_send(pipeline.organization, pipeline.integration, message)
    )
    claim = pipeline.ctx.lanes.claim("send", ClaimSequence())
    assert claim
    pipeline.ctx.lanes.conclude(
        claim,
        parse_first(SendEvent, in_doubt.settle_as_unknown)(claim, "the answer was lost", None),
    )
    then_ms = int((utc_now() - later).timestamp() * 1000)
    pipeline.redis.hset(keys.event(claim.id), mapping={"accepted": then_ms, "settled": then_ms})
    outcomes = handle(
        pipeline, {**FLAT, "fromMe": True, "to": PEER, "messageId": "E1"} | echo
    ).outcomes
    assert any(isinstance(outcome, MessageOutcome) for outcome in outcomes)
    record = find_record(pipeline.redis, claim.id)
    assert record
    assert record.state == "unknown"


def test_an_unreadable_message_in_doubt_is_ignored(pipeline: InboundPipeline) -> None:
    """A newer version wrote the message in doubt: the echo is a message of its own."""
    pipeline.ctx.route_cache.store_routes([])
    pipeline.ctx.lanes.append(
        routing.route_send(
            pipeline.organization, pipeline.integration, Message(to=PEER, text="Perhaps")
        )
    )
    claim = pipeline.ctx.lanes.claim("send", ClaimSequence())
    assert claim
    pipeline.ctx.lanes.conclude(
        claim,
        parse_first(SendEvent, in_doubt.settle_as_unknown)(claim, "the answer was lost", None),
    )
    pipeline.redis.hset(keys.event(claim.id), "body", '{"v": 2}')
    result = handle(
        pipeline, {**FLAT, "fromMe": True, "to": PEER, "text": "Perhaps", "messageId": "E1"}
    )
    assert isinstance(result.outcomes[0], MessageOutcome)
    assert not in_doubt.resolve_unknown(pipeline.redis, pipeline.ctx.lanes, claim.id, "sent")


def test_an_event_beyond_its_maximum_age_is_a_dead_letter(pipeline: InboundPipeline) -> None:
    result = parse_first(WebhookEvent, webhook.dead_letter_webhook)(
        claim_event(pipeline, FLAT), "expired", "could not be done in time"
    )
    assert isinstance(result, Settled)
    letter, log = result.outcomes
    assert isinstance(letter, DeadLetterOutcome)
    assert (letter.account, letter.reason, letter.event["payload"]) == (
        pipeline.account,
        "expired",
        FLAT,
    )
    assert isinstance(log, LogOutcome)
    assert (log.id, log.event_type, log.became, log.error) == (
        letter.id,
        "chat",
        "dead",
        "could not be done in time",
    )


def test_an_event_of_an_older_version_is_read(pipeline: InboundPipeline) -> None:
    """A queue outlives a deployment: newer fields are missing, fields of others are kept."""
    event = WebhookEvent(
        id=uuid4(), account=pipeline.account, peer=PEER, payload=FLAT, accepted_at=utc_now()
    )
    stored = event.model_dump(mode="json", exclude={"blobs"}) | {"gone": 1}
    read = WebhookEvent.model_validate(stored)
    assert read.model_dump() == {**event.model_dump(), "gone": 1}

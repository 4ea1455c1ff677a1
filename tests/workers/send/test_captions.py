"""Captions follow their files as texts. A crash between the two never sends a file twice."""

from typing import cast
from uuid import uuid5

import pytest
import redis

from shared import routing
from shared.errors import NotSentError, RefusedError, UnavailableError, UnknownEffectError
from shared.events import Media, Message, SendEvent
from shared.lanes.client import Lanes
from shared.lanes.records import Record, find_record
from shared.lanes.types import Claim, ClaimResult, ClaimSequence, Postponed, Settled
from shared.outcomes import DeadLetterOutcome, MessageOutcome
from shared.platform.models import SendResult
from shared.settings import EngineSettings
from tests.workers.send.test_handler import INTEGRATION, ORGANIZATION, ROUTE, FakeContext, handle
from workers import runner
from workers.media.download import LinkFetcher
from workers.send import files
from workers.send.captions import MISSING
from workers.send.handler import dead_letter_send
from workers.send.in_doubt import resolve_unknown, settle_proven

BILL = Media.model_validate({"type": "document", "url": "https://files.test/bill.pdf"})


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every address lead to its file."""
    monkeypatch.setattr(files, "check_link", lambda *_: None)
    monkeypatch.setattr(files, "open_links", lambda: files.FileLinks(cast("LinkFetcher", None), 1))


@pytest.fixture
def ctx(redis_client: redis.Redis) -> FakeContext:
    return FakeContext(Lanes(redis_client, EngineSettings()))


def accept(ctx: FakeContext, text: str = "The bill", media: Media | None = BILL) -> Claim:
    item = routing.route_send(
        ORGANIZATION, INTEGRATION, Message(to="+79990001122", text=text, media=media)
    )
    ctx.lanes.append(item)
    return claim_next(ctx)


def claim_next(ctx: FakeContext) -> Claim:
    claim = ctx.lanes.claim("send", ClaimSequence())
    assert claim
    return claim


def send_file(ctx: FakeContext, file: SendResult | None = None) -> Claim:
    """Send a file; return the claim that has to send its caption."""
    claim = accept(ctx)
    ctx.answer = file or SendResult("file_1")
    result = handle(claim, ctx)
    assert isinstance(result, Postponed)
    ctx.lanes.conclude(claim, result)
    again = claim_next(ctx)
    assert again.id == claim.id
    return again


def record_of(ctx: FakeContext, claim: Claim) -> Record:
    record = find_record(ctx.redis, claim.id)
    assert record
    return record


def as_settled(result: ClaimResult) -> Settled:
    assert isinstance(result, Settled)
    return result


def test_a_message_is_sent_when_both_parts_were_taken(ctx: FakeContext) -> None:
    """Meanwhile its row knows the file, and the conversation waits."""
    claim = accept(ctx)
    ctx.lanes.append(
        routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Later"))
    )
    ctx.answer = SendResult("file_1")
    waiting = handle(claim, ctx)
    assert isinstance(waiting, Postponed)
    shown = cast("MessageOutcome", waiting.outcomes[0])
    assert (shown.status, shown.task_id) == ("queued", "file_1")
    ctx.lanes.conclude(claim, waiting)
    caption = claim_next(ctx)
    assert (caption.id, caption.file_task, caption.attempts) == (claim.id, "file_1", 1)
    assert ctx.texts == []
    ctx.answer = SendResult("caption_1")
    result = as_settled(handle(caption, ctx))
    assert ctx.texts == ["The bill"]
    outcomes = cast("list[MessageOutcome]", result.outcomes)
    assert [(each.status, each.task_id) for each in outcomes] == [
        ("sent", "file_1"),
        ("sent", "caption_1"),
    ]
    ctx.lanes.conclude(caption, result)
    record = record_of(ctx, caption)
    assert (record.state, record.task_id, record.caption_task_id) == (
        "sent",
        "file_1",
        "caption_1",
    )
    assert claim_next(ctx).id != claim.id


@pytest.mark.parametrize(
    ("text", "media"),
    [("", BILL), ("Look", BILL.model_copy(update={"type": "image"})), ("Hello", None)],
    ids=["file without a caption", "image", "text"],
)
def test_messages_without_a_caption_of_their_own_are_one_call(
    ctx: FakeContext, text: str, media: Media | None
) -> None:
    """The platform takes the caption of an image."""
    assert as_settled(handle(accept(ctx, text, media), ctx)).state == "sent"


def test_a_platform_without_ids_gets_the_file_once(ctx: FakeContext) -> None:
    """That the file went out is known without its id."""
    claim = send_file(ctx, SendResult(None))
    ctx.answer = SendResult(None)
    result = as_settled(handle(claim, ctx))
    assert (result.state, result.fields, ctx.texts) == ("sent", {}, ["The bill"])


@pytest.mark.parametrize("error", [NotSentError("no"), UnavailableError("away")])
def test_a_caption_that_was_not_sent_is_tried_again_alone(
    ctx: FakeContext, error: NotSentError
) -> None:
    claim = send_file(ctx)
    ctx.answer = error
    result = handle(claim, ctx)
    assert isinstance(result, Postponed)
    ctx.lanes.conclude(claim, Postponed(0, result.reason, fields=result.fields))
    again = claim_next(ctx)
    ctx.answer = SendResult("caption_1")
    assert as_settled(handle(again, ctx)).state == "sent"
    assert ctx.texts == ["The bill", "The bill"]


def check_without_caption(result: ClaimResult, claim: Claim, reason: str) -> None:
    settled = as_settled(result)
    message, letter = settled.outcomes
    assert isinstance(message, MessageOutcome)
    assert isinstance(letter, DeadLetterOutcome)
    assert (settled.state, message.status, message.task_id) == ("sent", "sent", "file_1")
    assert (message.error or "").startswith(MISSING)
    assert (letter.id, letter.reason) == (uuid5(claim.id, "caption"), reason)
    assert letter.event["text"] == "The bill"
    assert "media" not in letter.event


def test_a_refused_caption_leaves_the_file_as_sent(ctx: FakeContext) -> None:
    """With the reason, and a dead letter of the caption alone: a replay sends no second file."""
    claim = send_file(ctx)
    ctx.answer = RefusedError("too long")
    result = handle(claim, ctx)
    check_without_caption(result, claim, "refused")
    ctx.lanes.conclude(claim, result)
    assert (record_of(ctx, claim).reason or "").endswith("too long")


def test_a_caption_that_expires_leaves_the_file_as_sent(ctx: FakeContext) -> None:
    claim = send_file(ctx)
    expired = Claim(**{**vars(claim), "now_ms": claim.expires_ms})
    event = SendEvent.model_validate_json(claim.body)
    result = runner.handle_claim(
        expired, lambda _: pytest.fail("sent"), lambda *given: dead_letter_send(event, *given)
    )
    check_without_caption(result, claim, "expired")


def leave_in_doubt(ctx: FakeContext) -> Claim:
    claim = send_file(ctx)
    ctx.answer = UnknownEffectError("the connection broke")
    result = as_settled(handle(claim, ctx))
    assert result.state == "unknown"
    assert "the file was sent; its caption may or may not" in result.fields["reason"]
    ctx.lanes.conclude(claim, result)
    return claim


def test_a_caption_in_doubt_is_sent_again_alone(ctx: FakeContext) -> None:
    """By an operator; the file went out for certain."""
    claim = leave_in_doubt(ctx)
    assert resolve_unknown(ctx.redis, ctx.lanes, claim.id, "again")
    ctx.answer = SendResult("caption_1")
    again = claim_next(ctx)
    assert as_settled(handle(again, ctx)).state == "sent"
    assert (again.file_task, ctx.texts) == ("file_1", ["The bill", "The bill"])


def test_the_echo_of_a_caption_proves_it(ctx: FakeContext) -> None:
    """The phone shows a text of its own."""
    claim = leave_in_doubt(ctx)
    event = SendEvent.model_validate_json(claim.body)
    echo = routing.build_message_outcome(event, "delivered", event.accepted_at).model_copy(
        update={"content": "text", "wa_message_id": "3EB0"}
    )
    document = echo.model_copy(update={"content": "document"})
    assert settle_proven(ctx.redis, ctx.lanes, claim.lane, document) is None
    assert settle_proven(ctx.redis, ctx.lanes, claim.lane, echo) == claim.id


def test_the_resend_policy_repeats_the_caption_alone(ctx: FakeContext) -> None:
    claim = send_file(ctx)
    ctx.route = ROUTE.model_copy(update={"resends_unknown": True})
    ctx.answer = UnknownEffectError("the connection broke")
    result = handle(claim, ctx)
    assert isinstance(result, Postponed)
    ctx.lanes.conclude(claim, Postponed(0, result.reason, fields=result.fields))
    assert claim_next(ctx).file_task == "file_1"

"""The file of a message is looked at once for all messages that send it."""

from dataclasses import replace
from typing import Any, cast

import pytest
import redis

from shared import routing
from shared.events import Media, Message, SendEvent, SentMedia
from shared.lanes.client import Lanes
from shared.lanes.types import Claim, ClaimSequence, Postponed, Settled
from shared.outcomes import DeadLetterOutcome
from shared.settings import EngineSettings
from tests.workers.send.test_handler import INTEGRATION, ORGANIZATION, FakeContext, handle
from workers.context import WorkerContext
from workers.media.download import LinkFetcher
from workers.media.errors import FileRefusedError, FileUnreachableError, RefusalReason
from workers.send import files
from workers.send.files import MAX_ATTEMPTS, prepare_file

BILL = Media.model_validate({"type": "document", "url": "https://files.test/bill"})


class Checks:
    """Answers in place of the file's server, and counts."""

    def __init__(self) -> None:
        self.count = 0
        self.answer: str | Exception = "application/pdf"

    def __call__(self, *_: Any) -> str:
        self.count += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    found = Checks()
    monkeypatch.setattr(files, "check_link", found)
    monkeypatch.setattr(files, "open_links", lambda: files.FileLinks(cast("LinkFetcher", None), 1))
    return found


@pytest.fixture
def ctx(redis_client: redis.Redis) -> FakeContext:
    return FakeContext(Lanes(redis_client, EngineSettings()))


def accept(ctx: FakeContext, number: int = 0) -> Claim:
    message = Message(to=f"+7999000{number:04}", media=BILL)
    ctx.lanes.append(routing.route_send(ORGANIZATION, INTEGRATION, message))
    claim = ctx.lanes.claim("send", ClaimSequence())
    assert claim
    return claim


def prepare(claim: Claim, ctx: FakeContext) -> SendEvent | Postponed:
    event = SendEvent.model_validate_json(claim.body)
    return prepare_file(event, claim, cast("WorkerContext", ctx))


def test_a_campaign_asks_once(ctx: FakeContext, checks: Checks) -> None:
    """Each message gets the type of the file."""
    for number in range(20):
        event = prepare(accept(ctx, number), ctx)
        assert isinstance(event, SendEvent)
        assert event.media
        assert event.media.mime == "application/pdf"
    assert checks.count == 1


def test_messages_wait_for_a_check_under_way(
    ctx: FakeContext, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their lanes, without a thread; it is no attempt of theirs."""
    first = accept(ctx)

    def check_later(*_: Any) -> str:
        second = prepare(accept(ctx, 1), ctx)
        assert isinstance(second, Postponed)
        assert second.unstarted
        return "application/pdf"

    monkeypatch.setattr(files, "check_link", check_later)
    assert isinstance(prepare(first, ctx), SendEvent)
    assert checks.count == 0


def test_a_refused_address_fails_its_messages_with_that_reason(
    ctx: FakeContext, checks: Checks
) -> None:
    """Nothing is sent; the dead letter can be replayed."""
    checks.answer = FileRefusedError(RefusalReason.GONE, "The file's address answers 404")
    for number in range(2):
        result = handle(accept(ctx, number), ctx)
        assert isinstance(result, Settled)
        assert (result.state, result.fields["reason"]) == (
            "failed",
            "The file's address answers 404",
        )
        assert isinstance(result.outcomes[1], DeadLetterOutcome)
    assert (checks.count, ctx.deadlines_s) == (1, [])


def test_a_server_in_trouble_postpones_and_fails_in_the_end(
    ctx: FakeContext, checks: Checks
) -> None:
    checks.answer = FileUnreachableError("The file's address answers 500")
    claim = accept(ctx)
    waits = handle(claim, ctx)
    assert isinstance(waits, Postponed)
    assert waits.reason == "The file's address answers 500"
    last = handle(replace(claim, attempts=MAX_ATTEMPTS), ctx)
    assert isinstance(last, Settled)
    assert (last.state, last.fields["code"]) == ("failed", "file_unusable")


def test_the_link_to_our_own_file_is_signed_when_it_is_sent(
    ctx: FakeContext, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link of the acceptance may be too old by then. Nothing is asked."""
    signed: list[str] = []

    def link(path: str) -> str:
        signed.append(path)
        return f"https://storage.test/{path}?signature=new"

    monkeypatch.setattr(FakeContext, "recent_link", staticmethod(link), raising=False)
    monkeypatch.setattr(FakeContext, "storage", property(lambda self: self), raising=False)
    claim = accept(ctx)
    media = SentMedia(type="document", url="https://storage.test/old", path="wpp/a/files/b.pdf")
    event = SendEvent.model_validate_json(claim.body).model_copy(update={"media": media})
    found = prepare_file(event, claim, cast("WorkerContext", ctx))
    assert isinstance(found, SendEvent)
    assert found.media
    assert found.media.url.endswith("wpp/a/files/b.pdf?signature=new")
    assert (signed, checks.count) == (["wpp/a/files/b.pdf"], 0)
